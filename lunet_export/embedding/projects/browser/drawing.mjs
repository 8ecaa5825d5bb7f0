// The panel "Draw one": the likelihood and the class of a drawing.
import * as lunet from "./lunet.mjs";
import { inTurn, newest, Times } from "./calls.mjs";
import { announce, bits, element, made, nats, percent } from "./elements.mjs";
import { Ink, levelsOf, wayFor } from "./ink.mjs";
import { greyLevels, paint } from "./pictures.mjs";

const DRAWS = 16; // draws of the noise
const OWN = 64; // number of samples of the model, for the typical value
const STEPS = 32; // steps of the cursor across the canvas

/**
 * @param app as of the panel "Samples"
 * @param sample gives a sample of the model, { x }
 */
export function drawingPanel(app, sample) {
  const [canvas, cursor, brush, colour, bars] = ["draw", "cursor", "brush", "colour", "bars"].map(element);
  const times = new Times(element("draw-times"));
  let way, ink, noise, own = null; // own: the log p of the model's own samples, and the context that it was measured at
  let taken = null; // grey levels of a sample, until something is drawn on it
  let last = null, at = [0.5, 0.5], down = false; // the pointer's last point, the keys' cursor: shares of the sides

  const redraw = newest(async () => {
    const { flow, context } = app;
    const fine = { shape: [ink.height, ink.width, ink.channels], levels: 256 };
    paint(canvas, ink.pixels.map((share) => 255 * share), fine);
    const grey = taken ?? levelsOf(ink, way.kind, app.picture.levels);
    paint(element("seen"), grey, app.picture);
    element("way").textContent = taken ? "The sample's own grey levels, until you draw on it." : way.said;
    element("draw-result").hidden = ink.blank;
    element("draw-prompt").hidden = !ink.blank;
    if (!flow || ink.blank) return;
    const x = noise.map((number, index) => grey[index % flow.dim] + number);
    const found = await times.of("density", DRAWS, () => flow.density(x, { context }));
    const logProb = mean(found.log_prob);
    element("draw-bits").textContent = bits(logProb, flow.dim);
    element("draw-nats").textContent = `log p = ${nats(logProb)}`;
    const said = [bits(logProb, flow.dim), gauge(logProb)];
    if (flow.classes) said.push(classify(found.class_log_prob));
    announce(said.filter(Boolean).join(". "));
  }, app.failed);

  /** Measure the likelihood of the model's own samples, which is typical. */
  const measure = newest(async () => {
    const { flow, context } = app;
    if (!flow || own?.context === context) return;
    const z = flow.latent(OWN, { seed: 0 });
    const labels = flow.classes ? lunet.classes(0, 0, OWN, flow.classes.map(({ prior }) => prior)) : Array(OWN).fill(0);
    const x = new flow.Array(z.length);
    for (const label of new Set(labels)) {
      const rows = [...labels.keys()].filter((row) => labels[row] === label);
      const chosen = rows.flatMap((row) => [...z.subarray(row * flow.dim, (row + 1) * flow.dim)]);
      const decoded = await inTurn(() => flow.decode(chosen, { label, context }));
      for (const [place, row] of rows.entries())
        x.set(decoded.subarray(place * flow.dim, (place + 1) * flow.dim), row * flow.dim);
    }
    const { log_prob } = await times.of("density", OWN, () => flow.density(x, { context }));
    own = { context, mean: mean(log_prob), sorted: [...log_prob].sort((a, b) => a - b) };
    element("typical").textContent = `${bits(own.mean, flow.dim)}, ${nats(own.mean)}`;
    if (document.activeElement?.closest("#context-panel")) announce(`Typical at this context: ${bits(own.mean, flow.dim)}.`);
    redraw();
  }, app.failed);

  /** Place the marker among the model's own samples; returns a sentence. */
  function gauge(logProb) {
    if (!own) return "";
    const cut = Math.floor(OWN / 20), [low, high] = [own.sorted[cut], own.sorted[OWN - 1 - cut]]; // nine of ten
    const wide = Math.max(high - low, 1e-6), [from, to] = [low - 2.5 * wide, high + wide];
    for (const [name, number] of Object.entries({ low, high, mean: own.mean, here: logProb })) {
      const share = Math.min(Math.max((number - from) / (to - from), 0), 1);
      element("gauge").style.setProperty(`--${name}`, `${100 * share}%`);
    }
    const how = logProb < from ? "Far less likely than" : logProb < low ? "Less likely than"
      : logProb > high ? "More likely than" : "As likely as";
    element("gauge-said").textContent = `${how} its own samples`;
    return element("gauge-said").textContent;
  }

  /** Bars of the posterior from the mean log p of each class; returns a sentence. */
  function classify(classLogProb) {
    const { classes } = app.flow, count = classes.length;
    const scores = classes.map(({ prior }, label) =>
      mean(classLogProb.filter((_, index) => index % count === label)) + Math.log(prior));
    const most = Math.max(...scores), parts = scores.map((score) => Math.exp(score - most));
    const sum = parts.reduce((total, part) => total + part), best = scores.indexOf(most);
    for (const [label, bar] of [...bars.children].entries()) {
      const share = parts[label] / sum;
      bar.ariaCurrent = String(label === best);
      bar.style.setProperty("--share", share);
      bar.lastChild.textContent = percent(share);
    }
    const said = `Class ${classes[best].name}, ${percent(parts[best] / sum)}`;
    element("draw-class").textContent = classes[best].name;
    return said;
  }

  function stroke(from, to) {
    const side = Math.max(ink.width, ink.height), pixels = ([x, y]) => [x * ink.width, y * ink.height];
    ink.line(pixels(from), pixels(to), (side * brush.value) / 200, shade());
    taken = null;
    redraw();
  }

  /** The brush's colour, a number for each channel: white for grey pictures. */
  function shade() {
    if (ink.channels === 1) return [1];
    const parts = [1, 3, 5].map((begin) => parseInt(colour.value.slice(begin, begin + 2), 16) / 255);
    return ink.channels === 4 ? [...parts, 1] : parts;
  }

  function point({ clientX, clientY }) {
    const box = canvas.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !ink) return;
    canvas.setPointerCapture(event.pointerId);
    last = point(event);
    stroke(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) {
      const here = point(step);
      stroke(last, here);
      last = here;
    }
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));

  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] };
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey || !ink) return;
    event.preventDefault();
    if (event.key === " ") down = true;
    const before = at;
    at = at.map((share, axis) => Math.min(Math.max(share + moves[event.key][axis] / STEPS, 0), 1));
    showCursor();
    if (down) stroke(before, at);
  });
  canvas.addEventListener("keyup", (event) => {
    if (event.key === " ") down = false;
  });
  canvas.addEventListener("blur", () => (down = false));

  function showCursor() {
    [cursor.style.left, cursor.style.top] = at.map((share) => `${100 * share}%`);
    cursor.style.width = `${brush.value}%`;
  }

  brush.addEventListener("input", showCursor);
  element("clear").addEventListener("click", () => {
    ink.clear();
    taken = null;
    redraw();
    announce("The canvas is empty.");
  });
  element("take").addEventListener("click", () => {
    taken = greyLevels(sample().x, app.picture.levels);
    ink.take(taken, app.picture.levels - 1);
    redraw();
  });

  return {
    /** Measure and score at another context. */
    changed() {
      if (!ink) return;
      redraw();
      measure();
    },
    opened() {
      const { flow, picture } = app;
      times.clear();
      own = null;
      element("draw-possible").hidden = picture.levels === null;
      element("draw-impossible").hidden = picture.levels !== null;
      if (picture.levels === null) return;
      if (!ink) {
        way = wayFor(picture);
        ink = new Ink(picture, way.scale);
        noise = lunet.uniform(0, 0, DRAWS, flow.dim);
        element("colour-field").hidden = ink.channels === 1;
        element("posterior").hidden = !flow.classes;
        element("typical-here").hidden = !flow.context;
        bars.append(...(flow.classes ?? []).map(({ name }) =>
          made("li", "", made("span", "name", name), made("span", "bar"), made("span", "share"))));
        showCursor();
      }
      redraw();
      measure();
    },
  };
}

function mean(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
