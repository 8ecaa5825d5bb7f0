// The panel "Between two samples": a slider along the arc between their latents.
import { spherical } from "./arc.mjs";
import { newest, Times } from "./calls.mjs";
import { announce, bits, element, made, nats, percent } from "./elements.mjs";
import { paint } from "./pictures.mjs";

const MOST = 7; // most pictures in a row of the strip

/** @param app as of the panel "Samples" */
export function betweenPanel(app) {
  const [slider, big, strip] = ["along", "between", "strip"].map(element);
  const times = new Times(element("between-times"));
  let [a, b] = [null, null];

  const redraw = newest(async () => {
    const { flow, context } = app, t = slider.value / 100;
    if (!flow || !a) return;
    const z = flow.Array.from(spherical(a.z, b.z, t)), label = a.label;
    const decode = (number) => times.of("decode", 1, () => flow.decode(z, { label: number, context }));
    const x = await decode(label);
    const { log_prob: [logProb], posterior } = await times.of("density", 1, () => flow.density(x, { context }));
    paint(big, x, app.picture);
    element("between-bits").textContent = bits(logProb, flow.dim);
    element("between-nats").textContent = `log p = ${nats(logProb)}`;
    let said = `${bits(logProb, flow.dim)}, ${slider.value} % of the way from A to B`;
    if (flow.classes) {
      const most = posterior.indexOf(Math.max(...posterior));
      const seen = `The model reads class ${flow.classes[most].name} (${percent(posterior[most])}).`;
      element("between-class").textContent = seen;
      said += `. ${seen}`;
      for (const [number, figure] of [...strip.children].entries()) {
        figure.ariaCurrent = String(number === label);
        paint(figure.firstChild, number === label ? x : await decode(number), app.picture);
      }
    }
    slider.ariaValueText = `${slider.value} % of the way from A to B`;
    if (document.activeElement === slider) announce(said);
  }, app.failed);

  slider.addEventListener("input", redraw);

  return {
    opened() {
      times.clear();
      const { classes } = app.flow;
      element("strip-part").hidden = !classes;
      if (!classes || strip.children.length) return;
      strip.append(...classes.map(({ name }) => made("figure", "", made("canvas"), made("figcaption", "", name))));
      const rows = Math.ceil(classes.length / MOST);
      strip.style.setProperty("--columns", Math.ceil(classes.length / rows));
    },
    /** Go from sample A to sample B. */
    show(first, second) {
      [a, b] = [first, second];
      paint(element("end-a"), a.x, app.picture);
      paint(element("end-b"), b.x, app.picture);
      const name = ({ label }) => app.flow.classes[label].name;
      const differ = app.flow?.classes && a.label !== b.label;
      element("between-note").textContent =
        differ ? `The big picture uses A's network, class ${name(a)}; B has class ${name(b)}.` : "";
      redraw();
    },
  };
}
