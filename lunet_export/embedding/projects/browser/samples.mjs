// The panel "Samples": a grid of pictures; two of them are A and B.
import * as lunet from "./lunet.mjs";
import { newest, Times } from "./calls.mjs";
import { announce, element, made } from "./elements.mjs";
import { paint } from "./pictures.mjs";

const COLUMNS = 8, ROWS = 8;
const WRONG_SEED = "Expected a whole number from 0 to 18446744073709551615 as the seed.";

/**
 * @param app holds the open `flow`, the kind of `picture` and what to do when a call `failed`
 * @param changed function that is called with A and B, each { z, x, label }, whenever one of them changes
 */
export function samplesPanel(app, changed) {
  const [seed, temperature, choice, grid] = ["seed", "temperature", "class", "grid"].map(element);
  const times = new Times(element("samples-times"));
  const ends = { A: 0, B: 1 }; // places in the grid
  let turn = "A", focused = 0, samples = [], noise = {};

  const redraw = newest(async () => {
    const { flow } = app, seeds = readSeed(), degree = Number(temperature.value);
    if (!flow || seeds === null) return;
    const labels = shown(), each = labels.length > 1 ? COLUMNS : ROWS * COLUMNS;
    const z = flow.Array.from(normal(seeds, each), (number) => degree * number); // as flow.latent, the noise kept
    const found = [];
    for (const label of labels) {
      const x = await times.of("decode", each, () => flow.decode(z, label));
      for (let row = 0; row < each; row++)
        found.push({ z: part(z, row), x: part(x, row), label });
    }
    samples = found;
    layOut(labels);
    for (const [place, button] of buttons().entries()) paint(button.firstChild, samples[place].x, app.picture);
    for (const end of ["A", "B"]) ends[end] = Math.min(ends[end], samples.length - 1);
    mark();
    changed(samples[ends.A], samples[ends.B]);
  }, app.failed);

  function part(rows, row) {
    return rows.slice(row * app.flow.dim, (row + 1) * app.flow.dim);
  }

  /** The classes of the grid: all of them, one row each, or a single one. */
  function shown() {
    const { classes } = app.flow;
    if (!classes) return [0];
    return choice.value === "all" ? classes.map((_, label) => label) : [Number(choice.value)];
  }

  /** The seed in the field, or null if it is not valid; then the page says so beside the field. */
  function readSeed() {
    const good = /^\d+$/.test(seed.value) && BigInt(seed.value) < 1n << 64n;
    seed.setAttribute("aria-invalid", String(!good));
    element("seed-wrong").textContent = good ? "" : WRONG_SEED;
    return good ? BigInt(seed.value) : null;
  }

  function normal(seeds, rows) {
    const key = `${seeds} ${rows}`;
    if (noise.key !== key) noise = { key, numbers: lunet.normal(seeds, 0, rows, app.flow.dim) };
    return noise.numbers;
  }

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
  seed.addEventListener("input", redraw);
  choice.addEventListener("change", redraw);
  temperature.addEventListener("input", () => {
    element("temperature-said").textContent = Number(temperature.value).toFixed(2);
    redraw();
  });
  element("fresh").addEventListener("click", () => {
    seed.value = crypto.getRandomValues(new Uint32Array(1))[0];
    redraw();
  });

  let taken = -1;
  return {
    redraw,
    /** Offer the classes of a newly opened model, and clear the times. */
    opened() {
      times.clear();
      const { classes } = app.flow;
      element("class-field").hidden = !classes;
      if (classes && choice.length === 1)
        choice.append(...classes.map(({ name }, label) => new Option(name, String(label))));
      return redraw();
    },
    /** The next sample of the grid. */
    take() {
      taken = (taken + 1) % samples.length;
      return samples[taken];
    },
  };
}
