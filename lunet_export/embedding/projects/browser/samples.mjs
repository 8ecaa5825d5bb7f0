// The panel "Samples": the seed, the temperature and the class; a view shows what they give.
import * as lunet from "./lunet.mjs";
import { newest, Times } from "./calls.mjs";
import { element } from "./elements.mjs";

const WRONG_SEED = "Expected a whole number from 0 to 18446744073709551615 as the seed.";

/**
 * @param app holds the open `flow`, its `context`, the kind of `picture` and what to do when a call `failed`
 * @param view shows samples: `all` is its word for all classes; `rows(label, labels)` is how many it wants of one of these
 *   classes; `show(parts, times)` takes { label, z, x } of each class
 */
export function samplesPanel(app, view) {
  const [seed, temperature, choice] = ["seed", "temperature", "class"].map(element);
  const times = new Times(element("samples-times"));
  let noise = {};

  const redraw = newest(async () => {
    const { flow, context } = app, seeds = readSeed(), degree = Number(temperature.value);
    if (!flow || seeds === null) return;
    const labels = shown(), counts = labels.map((label) => view.rows(label, labels));
    const standard = normal(seeds, Math.max(...counts)); // a row's noise is the same for each class and context
    const parts = [];
    for (const [index, label] of labels.entries()) {
      const z = flow.Array.from(standard.subarray(0, counts[index] * flow.dim), (number) => degree * number);
      const x = await times.of("decode", counts[index], () => flow.decode(z, { label, context }));
      parts.push({ label, z, x });
    }
    await view.show(parts, { context, times });
  }, app.failed);

  /** The classes that are shown: all of them, or a single one. */
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

  return {
    redraw,
    /** Offer the classes of a newly opened model, and clear the times. */
    opened() {
      times.clear();
      const { classes } = app.flow;
      element("class-field").hidden = !classes;
      if (classes && !choice.length)
        choice.append(new Option(view.all, "all"), ...classes.map(({ name }, label) => new Option(name, String(label))));
      return redraw();
    },
  };
}
