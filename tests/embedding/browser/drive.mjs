// node drive.mjs JOB: serve a site folder, open one of its pages in Chromium, print one JSON report.
//
// JOB is JSON, or the name of a file of JSON:
//   site      the folder to serve (index.html, replay.html, model/, ort/ ..)
//   modules   a folder whose node_modules holds playwright-core
//   page      "index" or "replay"
//   query     what follows the page's address, such as "?runtime=webgpu"
//   gpu       true: Chromium's software adapter for WebGPU; otherwise there is none
//   pretend   true: that adapter says that it is a graphics card, so that the page takes it by itself
//   broken    true: the adapter gives no device, so that WebGPU fails after it was chosen
//   plain     true: by plain http from a host that is not localhost (no crypto.subtle, no WebGPU)
//   width, height, dark, still   the window, and what the user prefers: dark colours, no motion
//   exercise  true: use every panel of index.html (below); false: only open it
//   seed      of the grid that the report holds
//   shot      a .png of the whole page at the end
//   chromium  its path, /usr/bin/chromium unless given
//
// The report: code and output (replay), or state, problem, facts and texts (index); requests, each { url, bytes,
// status }, and the sum of their bytes; `outside`, addresses elsewhere that were asked for; errors of the console;
// `overflow`, pixels by which the page is wider than the window; and of an exercise what `exercise` puts in it. The exit
// code is 0 if there is a report.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { extname, join, normalize, resolve } from "node:path";

const TYPES = {
  ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json",
  ".mjs": "text/javascript", ".wasm": "application/wasm", ".onnx": "application/octet-stream",
};
const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-gpu"];
const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const UNDER = "/any/path/"; // a page may lie anywhere on its host
const PATIENCE = 120_000; // ms

const given = process.argv[2].trim();
const job = JSON.parse(given.startsWith("{") ? given : await readFile(given, "utf8"));
const { chromium } = createRequire(join(resolve(job.modules), "here.js"))("playwright-core");

const requests = [];
const server = createServer(async (request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
  const name = normalize(path.slice(UNDER.length)) || "index.html";
  const body = path.startsWith(UNDER) ? await readFile(join(job.site, name)).catch(() => null) : null;
  requests.push({ url: path.replace(UNDER, ""), bytes: body?.length ?? 0, status: body ? 200 : 404 });
  response.writeHead(body ? 200 : 404, { "content-type": TYPES[extname(name)] ?? "text/plain" });
  response.end(body ?? "");
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

const host = job.plain ? "plain.test" : "127.0.0.1";
const names = job.plain ? ["--host-resolver-rules=MAP plain.test 127.0.0.1"] : [];
const args = [...ARGUMENTS, ...(job.gpu ? GPU : []), ...names];
const browser = await chromium.launch({ executablePath: job.chromium ?? "/usr/bin/chromium", args });
const page = await browser.newPage({
  viewport: { width: job.width ?? 1280, height: job.height ?? 900 },
  colorScheme: job.dark ? "dark" : "light",
  reducedMotion: job.still ? "reduce" : "no-preference",
});
page.setDefaultTimeout(PATIENCE);
const errors = [], outside = [];
// Warnings are Chromium's own: of adapters that are not there, and of what this script reads back from canvases.
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("pageerror", (error) => errors.push(String(error)));
page.on("request", (request) => {
  const { hostname, protocol } = new URL(request.url());
  if (protocol.startsWith("http") && hostname !== host) outside.push(request.url());
});
if (job.pretend)
  await page.addInitScript(() => {
    Object.defineProperty(GPUAdapter.prototype, "info", { get: () => ({ vendor: "test", architecture: "card" }) });
  });
if (job.broken)
  await page.addInitScript(() => {
    GPUAdapter.prototype.requestDevice = () => Promise.reject(new Error("device refused for the test"));
  });

const begin = performance.now();
let report = {};
try {
  await page.goto(`http://${host}:${server.address().port}${UNDER}${job.page ?? "index"}.html${job.query ?? ""}`);
  report = job.page === "replay" ? await replay() : await index();
  if (job.shot) await page.screenshot({ path: job.shot, fullPage: true });
  report.overflow = await page.$eval("html", (root) => root.scrollWidth - root.clientWidth);
} finally {
  await browser.close();
  server.close();
}
const bytes = requests.reduce((sum, request) => sum + request.bytes, 0);
const wall_ms = Math.round(performance.now() - begin);
console.log(JSON.stringify({ ...report, wall_ms, requests, bytes, outside, errors }));

async function replay() {
  await page.waitForFunction(() => document.documentElement.dataset.code !== undefined);
  return { code: Number(await page.$eval("html", (root) => root.dataset.code)), output: await text("#output") };
}

async function index() {
  await page.waitForFunction(() => document.documentElement.dataset.state !== "loading");
  const state = await page.evaluate(() => document.documentElement.dataset.state);
  const found = {
    state, problem: await text("#problem"), status: await text("#status"), note: await text("#runtime-note"),
    facts: Object.fromEntries(await page.$$eval(".facts div", (parts) =>
      parts.map((part) => [part.children[0].textContent, part.children[1].textContent]))),
    webgpu: { label: await text("#webgpu-name"), disabled: await page.$eval("#webgpu", (input) => input.disabled) },
  };
  if (state !== "ready") return found;
  return { ...found, ...(job.exercise ? await exercise() : {}), ...(job.contexts ? await contexts() : {}) };
}

/** Move the sliders of the context; what follows them is named in `shown`. */
async function contexts() {
  await page.fill("#seed", String(job.seed ?? 7));
  await rest();
  if (await page.isVisible("#take")) await page.click("#take"); // a drawing, which stays the same
  if (await page.isVisible("#fit")) await page.click("#fit");
  await rest();
  const found = { sliders: await sliders(), note: await text("#context-note"), start: await shown(), at: [] };
  for (const steps of job.contexts) {
    for (const [selector, value] of Object.entries(steps)) {
      if (selector.includes("class")) await page.selectOption(selector, value);
      else await slide(selector, value);
    }
    await rest();
    found.at.push({ sliders: await sliders(), ...(await shown()) });
  }
  if (await page.isVisible("#context-0")) {
    const before = await calls("#samples-times");
    found.drag = await page.$eval("#context-0", (slider) => {
      for (let value = 0; value <= Number(slider.max); value++) {
        slider.value = value;
        slider.dispatchEvent(new Event("input"));
      }
      return { steps: Number(slider.max) + 1 };
    });
    await rest();
    found.drag.calls = (await calls("#samples-times")) - before;
    await page.focus("#context-0");
    await press("Home", "ArrowRight", "ArrowRight");
    found.keyboard = (await sliders())[0];
    found.live = await text("#live");
    await page.click("#context-middle");
    await rest();
    if (await page.isVisible("#fit")) await page.click("#fit");
    found.back = await shown();
  }
  found.tabs = await tabs();
  if (await page.isVisible("#row-0")) found.rows = await rows();
  await page.click("#verify");
  await page.waitForFunction(() => document.querySelector("#verdict").textContent);
  return { ...found, verdict: await text("#verdict"), after: await page.evaluate(() => document.documentElement.dataset.state) };
}

/** Rows to score: a point of the scatter, a number that is written, none, and one that is not allowed. */
async function rows() {
  const found = {};
  await page.click("#scatter");
  await rest();
  found.chosen = await scored();
  for (const [name, written] of [["written", "0.25"], ["empty", ""], ["huge", "1e300"]]) {
    await page.fill("#row-0", written);
    await rest();
    found[name] = await scored();
  }
  await page.click("#row-take");
  await rest();
  return { ...found, taken: await scored() };
}

async function scored() {
  return {
    row: await page.$$eval("#row-fields input", (inputs) => inputs.map((input) => input.value)),
    logProb: await text("#row-log-prob"), share: await text("#row-share"), wrong: await text("#row-wrong"),
  };
}

/** What is drawn and scored at a context: pictures, or a scatter and its figures. */
async function shown() {
  if (await page.isVisible("#grid"))
    return {
      grid: await tiles(), typical: await text("#typical"), between: await text("#between-nats"),
      taken: await text("#draw-nats"), seen: (await pictures("#seen"))[0],
    };
  return {
    axes: await page.$$eval("#across, #up", (selects) => selects.map((select) => select.selectedOptions[0].textContent)),
    figures: await page.$$eval("#points-facts tbody tr", (rows) =>
      rows.map((row) => [...row.cells].map((cell) => cell.textContent))),
    logProb: await text("#points-log-prob"), scored: await scored(),
    scatter: await page.$eval("#scatter", (canvas) => canvas.toDataURL()),
  };
}

function sliders() {
  return page.$$eval("#context-sliders input", (inputs) => inputs.map((input) => ({
    label: input.labels[0].firstChild.textContent.trim(), said: input.labels[0].querySelector("output").textContent,
    spoken: input.ariaValueText, most: Number(input.max), value: Number(input.value), disabled: input.disabled,
  })));
}

/** Use every panel; what the report says of each is named here. */
async function exercise() {
  await page.waitForFunction(() => document.querySelector("#typical").textContent !== "…");
  const found = { typical: await text("#typical") };

  // samples: the grid of `seed`; whether another seed is another picture, and the first seed the first one again
  await page.fill("#seed", String(job.seed ?? 7));
  await rest();
  found.grid = await tiles();
  await page.click("#fresh");
  await rest();
  found.freshDiffers = !same(await tiles(), found.grid);
  await page.fill("#seed", "-1");
  found.wrongSeed = await text("#seed-wrong");
  await page.fill("#seed", String(job.seed ?? 7));
  await rest();
  found.seedRepeats = same(await tiles(), found.grid);

  // temperature: a drag over all of its steps; calls that were made for them; at 0 the samples of a class are all equal
  const before = await calls("#samples-times");
  await page.$eval("#temperature", (slider) => {
    for (let value = 0; value <= 30; value++) {
      slider.value = value / 20;
      slider.dispatchEvent(new Event("input"));
    }
  });
  await rest();
  found.drag = { steps: 31, calls: (await calls("#samples-times")) - before };
  await slide("#temperature", 0);
  const cold = await tiles();
  found.coldEqual = same(cold[0], cold[1]);
  await slide("#temperature", 1);

  // classes: the grid of the last class alone
  if (await page.isVisible("#class-field")) {
    const last = await page.$eval("#class", (select) => select.options[select.options.length - 1].value);
    await page.selectOption("#class", last);
    await rest();
    found.classGrid = { label: Number(last), grid: await tiles() };
    await page.selectOption("#class", "all");
    await rest();
  }

  // A and B by mouse; at the ends of the slider stand their pictures, between them others
  await page.click("#grid button >> nth=5");
  await page.click("#grid button >> nth=2");
  await rest();
  found.marks = await marks();
  found.between = {};
  for (const [name, t] of [["start", 0], ["middle", 50], ["end", 100]]) {
    await slide("#along", t);
    const [picture] = await pictures("#between");
    found.between[name] = { picture, bits: await text("#between-bits"), class: await text("#between-class") };
  }
  found.strip = await pictures("#strip canvas");

  // a stroke by mouse, a sample, an empty canvas
  await page.locator("#draw").scrollIntoViewIfNeeded();
  const box = await page.locator("#draw").boundingBox();
  const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(0.5, 0.1));
  await page.mouse.down();
  await page.mouse.move(...at(0.5, 0.9), { steps: 12 });
  await page.mouse.up();
  await rest();
  found.stroke = await drawn();
  await page.click("#clear");
  await rest();
  found.cleared = await page.isVisible("#draw-prompt") && !(await page.isVisible("#draw-result"));
  await page.click("#take");
  await rest();
  found.taken = await drawn();

  // the same by keyboard alone, from the top of the page: what Tab reaches, and how each shows its focus
  found.tabs = await tabs(async (focus) => {
    if (focus.name === "tile") await press("Home", "ArrowRight", "ArrowDown", "Enter", "ArrowRight", "Enter");
    if (focus.name === "along") await press("Home", "ArrowRight", "ArrowRight");
    if (focus.name === "draw") {
      await press("ArrowUp", "ArrowUp");
      await page.keyboard.down(" ");
      await press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight");
      await page.keyboard.up(" ");
    }
    if (focus.name === "verify") await press("Enter");
  });
  await page.waitForFunction(() => document.querySelector("#verdict").textContent);
  await rest();
  found.keyboard = { marks: await marks(), along: await page.inputValue("#along"), drawn: await drawn() };
  found.verify = {
    verdict: await text("#verdict"),
    rows: await page.$$eval("#checks tbody tr", (rows) =>
      rows.map((row) => [...row.cells].map((cell) => cell.textContent))),
  };
  found.live = await text("#live");
  found.after = await page.evaluate(() => document.documentElement.dataset.state);
  found.times = await page.$$eval(".times span", (parts) => parts.map((part) => part.textContent));
  return found;
}

/** From the top of the page, what Tab reaches and how each shows its focus; `act` is called at each. */
async function tabs(act = () => {}) {
  const found = [];
  await page.click("#name");
  for (let count = 0; count < 40; count++) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate(() => {
      const node = document.activeElement, shown = node.type === "radio" ? node.nextElementSibling : node;
      return { name: node.id || node.className || node.tagName, outline: getComputedStyle(shown).outlineStyle };
    });
    if (found.some(({ name }) => name === focus.name)) break;
    found.push(focus);
    await act(focus);
  }
  return found;
}

function text(selector) {
  return page.$eval(selector, (node) => node.textContent.trim());
}

/** Wait until the pictures stand still and what is said has been said. */
async function rest() {
  let last = null;
  for (;;) {
    await page.waitForTimeout(150);
    await page.waitForSelector('#panels:not([aria-busy="true"])', { state: "attached" });
    const now = await page.$$eval("canvas, .times", (nodes) =>
      nodes.map((node) => node.toDataURL?.() ?? node.textContent).join());
    if (now === last) return;
    last = now;
  }
}

async function slide(selector, value) {
  await page.$eval(selector, (slider, to) => ((slider.value = to), slider.dispatchEvent(new Event("input"))), value);
  await rest();
}

async function press(...keys) {
  for (const key of keys) await page.keyboard.press(key);
  await rest();
}

/** The red channel of canvases, 0 .. 255. */
function pictures(selector) {
  return page.$$eval(selector, (canvases) => canvases.map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [...data].filter((_, index) => index % 4 === 0);
  }));
}

function tiles() {
  return pictures("#grid canvas");
}

function marks() {
  return page.$$eval("#grid button", (buttons) =>
    buttons.flatMap((button, place) => (button.dataset.mark ? [[button.dataset.mark, place]] : [])));
}

/** How many calls a panel has counted, of all kinds. */
async function calls(selector) {
  return [...(await text(selector)).matchAll(/(\d+) calls?/g)].reduce((sum, match) => sum + Number(match[1]), 0);
}

async function drawn() {
  return {
    seen: (await pictures("#seen"))[0],
    bits: await text("#draw-bits"),
    nats: await text("#draw-nats"),
    gauge: await text("#gauge-said"),
    class: await text("#draw-class"),
    bars: await page.$$eval("#bars li", (bars) => bars.map((bar) => bar.textContent)),
  };
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
