// The panel "Score a row": the log p of numbers that are written, taken from a sample or chosen in the scatter.
import * as lunet from "./lunet.mjs";
import { newest, Times } from "./calls.mjs";
import { announce, element, made, nats, percent } from "./elements.mjs";

const MOST = 8; // fields
const DIGITS = 6; // significant ones of what is written into a field

/**
 * @param app as of the panel "Samples"
 * @param mark function that shows a row and its log p, null where it has none, in the scatter
 */
export function rowPanel(app, mark) {
  const [fields, wrong, found, share] = ["row-fields", "row-wrong", "row-log-prob", "row-share"].map(element);
  const times = new Times(element("row-times"));
  let row = null, inputs = [], points = null, taken = 0; // points: the samples, { x, logProb }

  const redraw = newest(async () => {
    const { flow, context } = app;
    if (!flow || !row) return;
    const score = () => flow.density(row, { context });
    const { log_prob: [logProb] = [], message = "" } = await times.of("density", 1, score).catch((error) => {
      if (error instanceof lunet.LunetError && error.code === 2) return error; // a row that the density does not take
      throw error;
    });
    const good = logProb !== undefined, below = points.logProb.filter((one) => one < logProb).length / points.logProb.length;
    wrong.textContent = message;
    found.textContent = good ? nats(logProb, 3) : "…";
    share.textContent = good ? `log p, above that of ${percent(below)} of the samples` : "";
    mark(row, good ? logProb : null);
    if (good && document.activeElement?.closest("#row-panel")) announce(`${found.textContent}, ${share.textContent}`);
  }, app.failed);

  function offer({ dim, manifest }) {
    const names = manifest.model.columns ?? Array.from({ length: dim }, (_, column) => `x${column + 1}`);
    inputs = names.slice(0, MOST).map((name, column) => {
      const input = made("input"), label = made("label", "", name);
      Object.assign(input, { type: "number", step: "any", id: `row-${column}`, autocomplete: "off" });
      input.setAttribute("aria-describedby", "row-wrong");
      label.htmlFor = input.id;
      input.addEventListener("input", read);
      fields.append(made("div", "field", label, input));
      return input;
    });
    element("row-here").hidden = !app.flow.context;
    element("row-note").textContent =
      dim > MOST ? `A row has ${dim} numbers. These are the first ${MOST}; the others are those of the sample that was taken last.` : "";
  }

  /** Score what the fields say, if they hold numbers. */
  function read() {
    for (const input of inputs) input.setAttribute("aria-invalid", String(input.value === ""));
    const empty = inputs.find((input) => input.value === "");
    wrong.textContent = empty ? `Expected a number in ${empty.labels[0].textContent}.` : "";
    if (empty) return;
    row = row.map((number, column) => (column < MOST ? Number(inputs[column].value) : number));
    redraw();
  }

  function write(numbers) {
    row = Array.from(numbers, (number) => Number(number.toPrecision(DIGITS)));
    for (const [column, input] of inputs.entries()) input.value = row[column];
    read();
  }

  function take() {
    const { dim } = app.flow;
    write(points.x.slice(taken * dim, (taken + 1) * dim));
    taken = (taken + 1) % (points.x.length / dim);
  }

  element("row-take").addEventListener("click", take);

  return {
    opened: () => times.clear(),
    /** Score the row again: there are other samples, or it is another context. */
    changed(samples) {
      points = samples;
      if (!inputs.length) offer(app.flow);
      if (row) redraw();
      else take();
    },
    /** Score another row; columns that are not given stay as they are. */
    choose(given) {
      write(row.map((number, column) => given.get(column) ?? number));
    },
  };
}
