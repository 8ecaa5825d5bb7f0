// Samples as points of two columns; those of one column lie on its density.
import { announce, element, made, nats, said } from "./elements.mjs";
import { multiples, roundStep } from "./scales.mjs";

const COUNT = 1000, FEWEST = 100, NUMBERS = 2 ** 16; // points, fewer of rows that are so wide that all have more numbers
const MARGIN = { left: 56, right: 12, top: 12, bottom: 40 }, TICKS = 5, RADIUS = 2; // CSS pixels; about so many ticks
const TAIL = 0.005, ROOM = 0.15; // shares: of the points on either side that axes need not reach, and of the rest's range around it

/**
 * @param app as of the panel "Samples"
 * @param row the panel "Score a row", which is told of new samples and of a point that is chosen
 */
export function scatterView(app, row) {
  const [canvas, across, up, facts] = ["scatter", "across", "up", "points-facts"].map(element);
  const ranges = new Map(); // what each axis has shown since it was fitted: points move on axes that stand still
  let points = null; // { x, logProb }: the rows that are shown, and the log p of each
  let marked = null; // the same of one row
  let numberOf = null; // of a point in the picture, the numbers across and up

  /** A row's coordinate on an axis: its column, or its density. */
  function along(axis, { x, logProb }) {
    if (axis === "density") return Array.from(logProb, Math.exp);
    const { dim } = app.flow;
    return Array.from({ length: x.length / dim }, (_, row) => x[row * dim + Number(axis)]);
  }

  function range(axis, numbers) {
    const sorted = [...numbers].sort((a, b) => a - b), tail = Math.floor(TAIL * sorted.length);
    const [low, high] = [sorted[tail], sorted.at(-1 - tail)], shown = ranges.get(axis) ?? [Infinity, -Infinity];
    const room = ROOM * (high - low) || Math.abs(high) || 1;
    if (low < shown[0] || high > shown[1])
      ranges.set(axis, [axis === "density" ? 0 : Math.min(low - room, shown[0]), Math.max(high + room, shown[1])]);
    return ranges.get(axis);
  }

  /** Offer the columns of a newly opened model. */
  function offer({ dim, manifest }) {
    if (across.length) return;
    const names = manifest.model.columns ?? Array.from({ length: dim }, (_, column) => `x${column + 1}`);
    across.append(...names.map((name, column) => new Option(name, String(column))));
    up.append(...(dim > 1 ? names.map((name, column) => new Option(name, String(column))) : [new Option("density", "density")]));
    up.selectedIndex = Math.min(1, up.length - 1);
    for (const select of [across, up]) select.disabled = dim < 3;
  }

  function draw() {
    if (!points || !app.flow) return;
    const axes = [across, up].map((select) => {
      const axis = select.value, numbers = along(axis, points), [mark] = marked ? along(axis, marked) : [];
      return { axis, name: select.selectedOptions[0].textContent, numbers, mark, range: range(axis, numbers) };
    });
    numberOf = plot(canvas, ...axes);
    tell(axes);
  }

  /** What the picture shows, in numbers. */
  function tell(axes) {
    const spread = axes.filter(({ axis }) => axis !== "density").map(({ name, numbers }) => [name, mean(numbers), deviation(numbers)]);
    facts.tBodies[0].replaceChildren(...spread.map(([name, middle, wide]) => {
      const cells = [made("th", "", name), made("td", "", said(middle, 4)), made("td", "", said(wide, 4))];
      cells[0].scope = "row";
      return made("tr", "", ...cells);
    }));
    const inside = ({ range: [low, high], numbers }, row) => numbers[row] >= low && numbers[row] <= high;
    const outside = axes[0].numbers.filter((_, row) => !axes.every((axis) => inside(axis, row))).length;
    element("points-outside").textContent = outside ? `${outside} of ${axes[0].numbers.length} samples lie beyond the axes.` : "";
    const middle = nats(mean(points.logProb), 3);
    element("points-log-prob").textContent = middle;
    canvas.ariaLabel = `${axes[0].numbers.length} samples; ${axes[0].name} across, ${axes[1].name} up`;
    if (document.activeElement?.closest("#context-panel, .samples"))
      announce(`${spread.map(([name, here]) => `Mean of ${name} ${said(here, 3)}`).join(", ")}; mean log p ${middle}.`);
  }

  for (const select of [across, up]) select.addEventListener("change", draw);
  element("fit").addEventListener("click", () => {
    ranges.clear();
    draw();
  });
  canvas.addEventListener("click", ({ clientX, clientY }) => {
    if (!numberOf) return;
    const { left, top } = canvas.getBoundingClientRect(), chosen = numberOf(clientX - left, clientY - top);
    row.choose(new Map([across, up].map((select, index) => [Number(select.value), chosen[index]])));
  });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  return {
    all: "All, by their priors",
    rows(label, labels) {
      const count = Math.max(FEWEST, Math.min(COUNT, Math.floor(NUMBERS / app.flow.dim)));
      return labels.length > 1 ? Math.max(1, Math.round(count * app.flow.classes[label].prior)) : count;
    },
    async show(parts, { context, times }) {
      const { flow } = app, x = flow.Array.from(parts.flatMap((part) => Array.from(part.x)));
      offer(flow);
      const { log_prob: logProb } = await times.of("density", x.length / flow.dim, () => flow.density(x, { context }));
      points = { x, logProb };
      draw();
      row.changed(points);
    },
    /** Mark a row; without a log p it is not marked. */
    mark(x, logProb) {
      marked = logProb === null ? null : { x, logProb: [logProb] };
      draw();
    },
  };
}

/** Draw points in a frame with ticks, in the colours of the page; returns which numbers a point of the picture stands for. */
function plot(canvas, across, up) {
  const { clientWidth: width, clientHeight: height } = canvas, dense = devicePixelRatio || 1;
  Object.assign(canvas, { width: Math.round(width * dense), height: Math.round(height * dense) });
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
  const at = ({ range: [low, high] }, from, to) => (number) => from + ((number - low) / (high - low)) * (to - from);
  const [atX, atY] = [at(across, left, right), at(up, bottom, top)];
  const ticks = ({ range: [low, high] }) => multiples(roundStep((high - low) / TICKS), low, high);
  pen.scale(dense, dense);
  pen.font = `12px ${style.fontFamily}`;
  pen.fillStyle = colour("--quiet");
  pen.strokeStyle = colour("--line");
  pen.beginPath();
  pen.textAlign = "center";
  for (const tick of ticks(across)) {
    pen.moveTo(atX(tick), top);
    pen.lineTo(atX(tick), bottom);
    pen.fillText(said(tick), atX(tick), bottom + 16);
  }
  pen.fillText(across.name, (left + right) / 2, height - 6);
  pen.textAlign = "right";
  for (const tick of ticks(up)) {
    pen.moveTo(left, atY(tick));
    pen.lineTo(right, atY(tick));
    pen.fillText(said(tick), left - 6, atY(tick) + 4);
  }
  pen.stroke();
  pen.textAlign = "center";
  pen.save();
  pen.translate(12, (top + bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(up.name, 0, 0);
  pen.restore();
  pen.beginPath();
  pen.rect(left, top, right - left, bottom - top);
  pen.clip();
  pen.globalAlpha = 0.55;
  pen.fillStyle = colour("--accent");
  for (const [row, number] of across.numbers.entries()) {
    pen.beginPath();
    pen.arc(atX(number), atY(up.numbers[row]), RADIUS, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = colour("--text");
  pen.lineWidth = 2;
  if (across.mark !== undefined) {
    pen.beginPath();
    pen.arc(atX(across.mark), atY(up.mark), 3 * RADIUS, 0, 2 * Math.PI);
    pen.stroke();
  }
  const back = ({ range: [low, high] }, share) => low + share * (high - low);
  return (x, y) => [back(across, (x - left) / (right - left)), back(up, (bottom - y) / (bottom - top))];
}

function mean(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

function deviation(numbers) {
  const middle = mean(numbers);
  return Math.sqrt(numbers.reduce((sum, number) => sum + (number - middle) ** 2, 0) / (numbers.length - 1));
}
