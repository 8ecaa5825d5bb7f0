// Samples as a grid of pictures; two of them are A and B.
import { announce, element, made } from "./elements.mjs";
import { paint } from "./pictures.mjs";

const COLUMNS = 8, ROWS = 8;

/**
 * @param app as of the panel "Samples"
 * @param changed function that is called with A and B, each { z, x, label }, whenever one of them changes
 */
export function gridView(app, changed) {
  const grid = element("grid");
  const ends = { A: 0, B: 1 }; // places in the grid
  let turn = "A", focused = 0, samples = [], taken = -1;

  function buttons() {
    return [...grid.querySelectorAll("button")];
  }

  function layOut(labels) {
    const layout = labels.join(), named = labels.length > 1;
    if (grid.dataset.layout === layout) return;
    grid.dataset.layout = layout;
    grid.classList.toggle("named", named);
    grid.replaceChildren(...samples.flatMap((_, place) => {
      const button = made("button", "tile", made("canvas"), made("span", "mark"));
      button.type = "button";
      button.addEventListener("click", () => choose(place));
      button.addEventListener("focus", () => focus(place, false));
      const begins = named && place % COLUMNS === 0;
      return begins ? [made("span", "name", app.flow.classes[samples[place].label].name), button] : [button];
    }));
    focused = Math.min(focused, samples.length - 1);
  }

  function mark() {
    for (const [place, button] of buttons().entries()) {
      const marks = ["A", "B"].filter((end) => ends[end] === place).join(" ");
      const name = app.flow?.classes ? ` of class ${app.flow.classes[samples[place].label].name}` : "";
      button.dataset.mark = marks;
      button.lastChild.textContent = marks;
      button.tabIndex = place === focused ? 0 : -1;
      button.ariaPressed = String(marks !== "");
      button.ariaLabel = `Sample ${place + 1}${name}${marks ? `, chosen as ${marks}` : ""}`;
    }
    element("turn").textContent = turn;
  }

  function choose(place) {
    ends[turn] = place;
    announce(`Sample ${place + 1} is ${turn}.`);
    turn = turn === "A" ? "B" : "A";
    mark();
    changed(samples[ends.A], samples[ends.B]);
  }

  function focus(place, move = true) {
    focused = place;
    for (const [at, button] of buttons().entries()) button.tabIndex = at === place ? 0 : -1;
    if (move) buttons()[place].focus();
  }

  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS };
    const places = { Home: 0, End: samples.length - 1 };
    const place = places[event.key] ?? focused + steps[event.key];
    if (!Number.isInteger(place) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    if (place >= 0 && place < samples.length) focus(place);
  });

  return {
    all: "All, one row each",
    rows: (_, labels) => (labels.length > 1 ? COLUMNS : ROWS * COLUMNS),
    show(parts) {
      const { dim } = app.flow;
      samples = parts.flatMap(({ label, z, x }) => Array.from({ length: x.length / dim }, (_, row) => {
        const part = (rows) => rows.slice(row * dim, (row + 1) * dim);
        return { label, z: part(z), x: part(x) };
      }));
      layOut(parts.map(({ label }) => label));
      for (const [place, button] of buttons().entries()) paint(button.firstChild, samples[place].x, app.picture);
      for (const end of ["A", "B"]) ends[end] = Math.min(ends[end], samples.length - 1);
      mark();
      changed(samples[ends.A], samples[ends.B]);
    },
    /** The next sample of the grid. */
    take() {
      taken = (taken + 1) % samples.length;
      return samples[taken];
    },
  };
}
