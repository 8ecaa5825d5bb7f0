// The panel "Context": what a conditional flow is given beside its noise, by sliders, or by a choice of classes.
import { element, made, said } from "./elements.mjs";
import { stops } from "./scales.mjs";

const MOST = 8; // sliders

/**
 * @param app as of the panel "Samples"; its `context` is what the sliders say, null for a flow that takes none
 * @param changed function that is called after each change
 */
export function contextPanel(app, changed) {
  const [panel, sliders, note, middle] = ["context-panel", "context-sliders", "context-note", "context-middle"].map(element);
  let controls = [], start = null;

  function set(column, number) {
    app.context = app.context.with(column, number);
    changed();
  }

  /** A slider of a column; `show` puts it on the stop that is nearest to a number, and returns that stop. */
  function slider(column, low, high) {
    const at = stops(low, high), id = `context-${column}`, name = app.flow.context.names?.[column] ?? `c${column + 1}`;
    const output = made("output"), input = made("input");
    const label = made("label", "", `${name} `, output);
    Object.assign(input, { type: "range", id, min: 0, max: at.length - 1, step: 1, disabled: at.length === 1, autocomplete: "off" });
    label.htmlFor = id;
    output.htmlFor = id;
    const tell = () => {
      output.textContent = said(at[input.value]);
      input.ariaValueText = output.textContent;
    };
    input.addEventListener("input", () => {
      tell();
      set(column, at[input.value]);
    });
    return {
      field: made("div", "field wide", label, input, made("p", "ends small", made("span", "", said(low, 4)), made("span", "", said(high, 4)))),
      show(number) {
        input.value = at.reduce((best, stop, index) => (Math.abs(stop - number) < Math.abs(at[best] - number) ? index : best), 0);
        tell();
        return at[input.value];
      },
    };
  }

  /** A choice of the class whose column is 1, where all others are 0. */
  function choice(classes) {
    const select = made("select"), label = made("label", "", "Class");
    Object.assign(select, { id: "context-class", autocomplete: "off" });
    label.htmlFor = select.id;
    select.append(...classes.map(({ name }, number) => new Option(name, String(number))));
    select.addEventListener("change", () => {
      app.context = start.map((_, column) => Number(column === Number(select.value)));
      changed();
    });
    return made("div", "field", label, select);
  }

  /** The range of each column: that of training; where it is not known, that of the test vectors, which are drawn wide. */
  async function ends() {
    const { range, dim } = app.flow.context;
    if (range) return range;
    const { density, sampling } = await app.flow.vectors(), drawn = [...density.context, ...sampling.context];
    const of = (pick) => Array.from({ length: dim }, (_, column) => pick(...drawn.map((row) => row[column])));
    return { low: of(Math.min), high: of(Math.max) };
  }

  function toMiddle() {
    app.context = start.map((number, column) => controls[column]?.show(number) ?? number);
  }

  middle.addEventListener("click", () => {
    toMiddle();
    changed();
  });

  return {
    /** Offer the columns of a newly opened model; later the sliders stay as they are. */
    async opened() {
      const { context } = app.flow;
      panel.hidden = !context;
      if (!context || app.context) return;
      if (context.classes) {
        start = Array.from(context.classes, (_, column) => Number(column === 0));
        app.context = start;
        middle.hidden = true;
        sliders.append(choice(context.classes));
        return;
      }
      const { low, high } = await ends();
      start = low.map((least, column) => (least + high[column]) / 2);
      controls = start.slice(0, MOST).map((_, column) => slider(column, low[column], high[column]));
      sliders.append(...controls.map(({ field }) => field));
      toMiddle();
      note.textContent = [
        context.range ? "" : "The range of training is not known: the sliders span the contexts of the test vectors.",
        context.dim > MOST ? `The context has ${context.dim} columns. These are the first ${MOST}; the others stay at the middle of their range.` : "",
      ].filter(Boolean).join(" ");
    },
  };
}
