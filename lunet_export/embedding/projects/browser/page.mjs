// The page of a model: opens model/ on a runtime and hands it to the panels, those of pictures or those of points.
import * as lunet from "./lunet.mjs";
import { betweenPanel } from "./between.mjs";
import { contextPanel } from "./context.mjs";
import { drawingPanel } from "./drawing.mjs";
import { element } from "./elements.mjs";
import { gridView } from "./grid.mjs";
import { showable } from "./pictures.mjs";
import { rowPanel } from "./row.mjs";
import { adapter, asked, load, read, sentence } from "./runtime.mjs";
import { samplesPanel } from "./samples.mjs";
import { scatterView } from "./scatter.mjs";
import { verifyPanel } from "./verify.mjs";

const FAMILIES = { lunet: "LU-Net", realnvp: "RealNVP" };
const NAMED = 8; // names of columns that are shown

const page = document.documentElement; // data-state: loading, ready or failed
const app = { flow: null, context: null, picture: null, runtime: "", failed };
let samples, context, others; // the panels
const choices = { wasm: element("wasm"), webgpu: element("webgpu") };

async function start() {
  const wanted = asked();
  busy("Reading the model …");
  const manifest = await lunet.readManifest(read);
  layOut(manifest.model);
  describe(manifest);
  const found = await adapter();
  const missing = manifest.dtype === "float64" ? "These graphs are float64, WebGPU is float32." : found.missing;
  choices.webgpu.disabled = Boolean(missing);
  element("webgpu-name").textContent = missing ? "WebGPU" : `WebGPU (${found.name})`;
  if (missing) note(`WASM only. ${missing}`);
  else if (found.software) note("This WebGPU adapter is software, so WASM is the default.");
  if (wanted === "webgpu" && missing) note(`The address asks for WebGPU. ${missing} The page uses WASM.`);
  await open(missing ? "wasm" : (wanted ?? (found.software ? "wasm" : "webgpu")));
}

/** Open the model on a runtime; if WebGPU fails, say so and continue with WASM. */
async function open(name) {
  const begin = performance.now(), before = app.flow;
  app.flow = null;
  lock(true);
  choices[name].checked = true;
  busy(`Starting ONNX Runtime on ${label(name)} …`);
  await before?.close().catch(() => {}); // a broken session need not close
  try {
    const ort = await load(name);
    let opening = true; // the vectors are fetched later, when someone asks for them
    const fetched = (file) => (opening && busy(`Fetching ${file} …`), read(file));
    const flow = await lunet.open(ort, fetched, { providers: [name] });
    opening = false;
    Object.assign(app, { flow, runtime: label(name) });
    const { web, common } = ort.env.versions;
    element("versions").textContent = `web ${web}, common ${common}`;
    await context.opened();
    await samples.opened();
    if (!app.flow) return; // the first call failed, and `failed` took over
    ready(name, performance.now() - begin);
  } catch (error) {
    if (name !== "webgpu") throw error;
    await withoutGpu(error);
  }
}

async function withoutGpu(error) {
  choices.webgpu.disabled = true;
  note(`WebGPU failed, so the page uses WASM. ${sentence(error)}`);
  await open("wasm");
}

/** Handle an error of a panel's call. */
function failed(error) {
  if (app.flow && choices.webgpu.checked && error.code === 3) withoutGpu(error).catch(fail);
  else if (app.flow) fail(error);
}

function ready(name, time) {
  const part = (folder) => `${megabytes(folder)} of ${folder === "ort/" ? "runtime" : "model"}`;
  element("loaded").textContent = `${(time / 1000).toFixed(2)} s; ${part("ort/")}, ${part("model/")}`;
  element("status").textContent = `Running on ${label(name)}.`;
  page.dataset.state = "ready";
  lock(false);
  for (const panel of others) panel.opened();
  samples.redraw();
}

/** The size of what was fetched from a folder, unpacked. */
function megabytes(folder) {
  const start = new URL(folder, import.meta.url).href;
  const entries = performance.getEntriesByType("resource").filter(({ name }) => name.startsWith(start));
  const sizes = new Map(entries.map(({ name, decodedBodySize }) => [name, decodedBodySize]));
  return `${([...sizes.values()].reduce((sum, size) => sum + size, 0) / 1e6).toFixed(1)} MB`;
}

/** Make the panels of a model of images, or of other rows. */
function layOut({ name, dim, image_shape: shape, preprocessing }) {
  app.picture = showable(shape, dim) ? { shape, levels: preprocessing?.levels ?? null, name } : null;
  page.dataset.rows = app.picture ? "pictures" : "points";
  const verify = verifyPanel(app);
  if (app.picture) {
    const between = betweenPanel(app), grid = gridView(app, between.show), drawing = drawingPanel(app, grid.take);
    samples = samplesPanel(app, grid);
    others = [between, drawing, verify];
    context = contextPanel(app, () => (samples.redraw(), drawing.changed()));
  } else {
    const row = rowPanel(app, (...given) => scatter.mark(...given)), scatter = scatterView(app, row);
    samples = samplesPanel(app, scatter);
    others = [row, verify];
    context = contextPanel(app, samples.redraw);
  }
}

function describe({ model: { name, kind, dim, columns, context: of, image_shape: shape, preprocessing }, dtype, classes }) {
  document.title = `${name}: a normalizing flow in your browser`;
  element("kind").textContent = `${FAMILIES[kind.split("-")[0]] ?? kind}, a normalizing flow`;
  element("name").textContent = name;
  element("rows").textContent = app.picture ? "Picture" : "Row";
  const levels = preprocessing ? `, ${preprocessing.levels} levels` : "";
  element("shape").textContent = app.picture ? shape.join(" × ") + levels : counted(dim, columns);
  element("context-fact").hidden = !of;
  element("context-said").textContent = of ? counted(of.dim, of.classes?.map(({ name }) => name) ?? of.names) : "";
  element("networks").textContent = classes ? `${classes.length}, one per class` : "1";
  element("dtype").textContent = dtype;
}

/** How many numbers a row or a context has, and their names where they have some. */
function counted(dim, names) {
  const shown = names?.slice(0, NAMED).join(", "), more = names?.length > NAMED ? ", …" : "";
  return `${dim} number${dim === 1 ? "" : "s"}${names ? `: ${shown}${more}` : ""}`;
}

function label(name) {
  return name === "wasm" ? "WASM (CPU)" : element("webgpu-name").textContent;
}

function busy(text) {
  page.dataset.state = "loading";
  element("status").textContent = text;
}

function note(text) {
  element("runtime-note").textContent = text;
}

/** Disable the panels while a runtime starts. */
function lock(locked) {
  element("panels").inert = locked;
  element("panels").hidden = false;
  element("runtime").disabled = locked;
}

function fail(error) {
  app.flow = null;
  page.dataset.state = "failed";
  element("status").textContent = "";
  element("problem").textContent = sentence(error);
  element("problem-box").hidden = false;
  element("panels").inert = true;
}

for (const [name, choice] of Object.entries(choices))
  choice.addEventListener("change", () => open(name).then(() => choice.focus(), fail)); // the lock took the focus away
addEventListener("error", (event) => fail(event.error ?? event.message));
addEventListener("unhandledrejection", (event) => fail(event.reason));
start().catch(fail);
