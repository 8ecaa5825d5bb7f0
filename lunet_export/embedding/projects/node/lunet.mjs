// An exported folder of lunet_export in JavaScript, for Node or the browser, with any package of ONNX Runtime.
// README.md of the folder specifies the noise and the replay of the test vectors; `lunet-export format` prints the whole format.

const OLDEST = 16; // minor version of ONNX Runtime 1
const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57];
const WEYL = [0x9e3779b9, 0xbb67ae85];
const NORMAL = 0, UNIFORM = 1, CLASS = 0xffffffff; // streams
const ARRAYS = { float32: Float32Array, float64: Float64Array };
const UNCONDITIONAL = "Expected no context for a flow that takes none; got one. Leave it out.";

/** One sentence for the user. `code` is the exit code: 1 a check failed, 2 bad input, 3 the runtime cannot do it. */
export class LunetError extends Error {
  constructor(message, code = 2) {
    super(message);
    this.name = "LunetError";
    this.code = code;
  }
}

/**
 * Open a folder.
 * @param ort the module of `import * as ort from "onnxruntime-node"` (or "onnxruntime-web/wasm", "/webgpu")
 * @param read async (file name) => Uint8Array, or null if there is no such file
 * @param options providers: names of execution providers; nodes that they cannot run go to the CPU. threads: CPU threads.
 *   warn: given a sentence when contexts leave the range of training, once per column
 */
export async function open(ort, read, { providers = ["cpu"], threads = 0, warn = console.warn } = {}) {
  refuseOld(ort);
  const manifest = await readManifest(read);
  if (manifest.dtype === "float64" && providers.includes("webgpu"))
    throw new LunetError("Expected float32 graphs for WebGPU; these are float64. Run them on wasm.", 3);
  const bytes = async (file) => verified(file, await needed(read, file), manifest.sha256?.[file]);
  const settings = { executionProviders: providers, ...(threads ? { intraOpNumThreads: threads } : {}) };
  const sessions = {};
  try {
    for (const name of ["density", ...samplers(manifest)]) {
      const graph = await bytes(`${name}.onnx`);
      refuseOutside(graph, `${name}.onnx`);
      sessions[name] = await ort.InferenceSession.create(graph, settings).catch((error) => {
        throw new LunetError(`Expected ONNX Runtime to open ${name}.onnx on ${providers}; it says: ${line(error)}.`, 3);
      });
      refuseShape(sessions[name], name, manifest.model);
    }
  } catch (error) {
    for (const session of Object.values(sessions)) await session.release().catch(() => {});
    throw error;
  }
  return new Flow(ort, manifest, sessions, async () => parsed(await bytes("vectors.json"), "vectors.json"), warn);
}

/** Read manifest.json of a folder; throws unless it is whole and of a known version. */
export async function readManifest(read) {
  const manifest = parsed(await needed(read, "manifest.json"), "manifest.json");
  refuseManifest(manifest);
  return manifest;
}

/**
 * An opened flow. Rows lie one after another in flat arrays. Calls may overlap: they run one after another.
 *
 * A conditional flow, p(x | c), takes c as the option `context` of its methods: C numbers for all rows, or C numbers for each.
 */
export class Flow {
  #ort; #sessions; #vectors; #warn; #warned = new Set(); #last = Promise.resolve();

  constructor(ort, manifest, sessions, vectors, warn) {
    this.#ort = ort;
    this.#sessions = sessions;
    this.#vectors = vectors;
    this.#warn = warn;
    this.manifest = manifest;
    this.dim = manifest.model.dim;
    this.levels = manifest.model.preprocessing?.levels ?? null; // for images: x lies in [0, levels)
    this.domain = manifest.model.domain ?? null; // { low, high, closed }; low and high have an entry per column, null for no border
    this.imageShape = manifest.model.image_shape;
    this.classes = manifest.classes?.map(({ name, prior }) => ({ name, prior })) ?? null;
    const { context } = manifest.model; // { dim, names, range: { low, high } }, null where not known; `classes` if it names one
    this.context = context ? { ...context, names: context.names ?? null, range: context.range ?? null } : null;
    this.Array = ARRAYS[manifest.dtype];
  }

  /** x -> { log_prob, z }, or with one network per class { class_log_prob, log_prob, posterior }; in nats. */
  async density(x, { context } = {}) {
    return this.#run("density", "x", this.#data(x), context);
  }

  /** z -> x; with one network per class, by the network with that number: `decode(z, 3)` or `decode(z, { label: 3 })`. */
  async decode(z, options = 0) {
    const { label = 0, context } = typeof options === "object" ? options : { label: options };
    const name = this.classes ? `sampling_${label}` : "sampling";
    if (!this.#sessions[name]) throw new LunetError(`Expected a class from 0 to ${this.classes.length - 1}; got ${label}.`);
    return (await this.#run(name, "z", this.#rows(z, "z"), context)).x;
  }

  /** The z that `sample` decodes: temperature times the normal numbers of these rows of the seed. */
  latent(rows, { seed, first = 0, temperature = 1 } = {}) {
    if (!(temperature >= 0 && temperature < Infinity))
      throw new LunetError(`Expected a temperature of 0 or more; got ${temperature}. 1 is the model itself.`);
    return this.Array.from(normal(seed, first, rows, this.dim), (number) => temperature * number);
  }

  /** `rows` rows of the model; the same seed gives the same rows in every language. */
  async sample(rows, { label = 0, context, ...options } = {}) {
    return this.decode(this.latent(rows, options), { label, context });
  }

  /**
   * The columns, from 0, in which a context leaves the range of training; all of them where contexts name classes and this one
   * names none. Nothing was fitted there: answers are correct, but mean little. Empty where the range is not known.
   */
  beyond(context) {
    if (!this.context) throw new LunetError(UNCONDITIONAL);
    if (!context?.length) throw new LunetError(`Expected a context of ${this.context.dim} numbers, or several; got none. Give one.`);
    return this.#beyond(this.#rows(context, "context", this.context.dim)).map(({ column }) => column);
  }

  /** vectors.json */
  vectors() {
    return this.#vectors();
  }

  /** Free the memory of the sessions. */
  async close() {
    await this.#last.catch(() => {});
    for (const session of Object.values(this.#sessions)) await session.release();
  }

  #run(name, input, rows, context) {
    const [dim, most] = [this.dim, this.manifest.batch[1]], count = rows.length / dim;
    const contexts = this.#contexts(context, count);
    const call = async () => {
      const parts = [];
      for (let begin = 0; begin < count; begin += most) {
        const end = Math.min(begin + most, count), fed = { [input]: rows.subarray(begin * dim, end * dim) };
        parts.push(await this.#once(name, contexts ? { ...fed, context: contexts(begin, end) } : fed));
      }
      const outputs = this.#sessions[name].outputNames;
      const whole = () => Object.fromEntries(outputs.map((key) => [key, joined(parts.map((part) => part[key]), this.Array)]));
      return this.#finite(parts.length === 1 ? parts[0] : whole(), count);
    };
    // WebGPU refuses a second call while one runs.
    this.#last = this.#last.then(call, call);
    return this.#last;
  }

  /** Finite rows can overflow in a graph. Some classes of a row may be too far away, but not all. */
  #finite(found, rows) {
    const refuse = (row) => {
      if (row >= 0) throw new LunetError(`Expected rows whose answers ${this.manifest.dtype} can hold; row ${row} overflows: it is too far out. Leave it out.`);
    };
    for (const [key, values] of Object.entries(found)) {
      const bad = key === "class_log_prob" ? Number.isNaN : (number) => !Number.isFinite(number);
      refuse(Math.floor(values.findIndex(bad) / (values.length / rows)));
    }
    const { class_log_prob } = found, count = this.classes?.length;
    for (let row = 0; class_log_prob && row < rows; row++)
      if (class_log_prob.subarray(row * count, (row + 1) * count).every((one) => one === -Infinity)) refuse(row);
    return found;
  }

  async #once(name, fed) {
    const tensor = (numbers, wide) => new this.#ort.Tensor(this.manifest.dtype, numbers, [numbers.length / wide, wide]);
    const wide = (input) => (input === "context" ? this.context.dim : this.dim);
    const tensors = Object.fromEntries(Object.entries(fed).map(([input, numbers]) => [input, tensor(numbers, wide(input))]));
    try {
      const outputs = await this.#sessions[name].run(tensors);
      const found = await Promise.all(Object.entries(outputs).map(async ([key, value]) => [key, await dataOf(value)]));
      return Object.fromEntries(found);
    } catch (error) {
      throw new LunetError(`Expected ONNX Runtime to run ${name}.onnx; it says: ${line(error)}.`, 3);
    }
  }

  #rows(numbers, name, wide = this.dim) {
    if (numbers.length % wide !== 0)
      throw new LunetError(`Expected ${name} in rows of ${wide} numbers; got ${numbers.length} numbers in all.`);
    const rows = this.Array.from(numbers);
    const wrong = rows.findIndex((number) => !Number.isFinite(number));
    if (wrong >= 0) throw new LunetError(`Expected finite numbers in ${name}; ${this.#place(wrong, wide)} is ${numbers[wrong]}.`);
    return rows;
  }

  /** What gives the contexts of rows begin .. end - 1, or the one of all rows, flat; null for a flow that takes none. */
  #contexts(given, count) {
    const { dim } = this.context ?? {}, none = given === undefined || given === null;
    if (!dim && none) return null;
    if (!dim) throw new LunetError(UNCONDITIONAL);
    if (none || ![dim, count * dim].includes(given.length)) {
      const got = none ? "none" : given.length === undefined ? "no array" : `${given.length} in all`;
      throw new LunetError(`Expected a context of ${dim} numbers for all ${count} rows, or ${dim} for each; got ${got}. Give { context }.`);
    }
    const numbers = this.#rows(given, "context", dim);
    this.#tell(this.#beyond(numbers));
    return (begin, end) => (numbers.length === dim ? numbers : numbers.subarray(begin * dim, end * dim));
  }

  /** The columns in which contexts lie beyond those of training, each with a sentence. */
  #beyond(numbers) {
    const { dim, names, range, classes } = this.context, found = new Map();
    if (classes) return this.#nameless(numbers);
    if (!range) return [];
    const [low, high] = [range.low, range.high].map((end) => this.Array.from(end)); // rounded as contexts are
    numbers.forEach((number, index) => {
      const column = index % dim;
      if (number >= low[column] && number <= high[column]) return;
      const { least, most } = found.get(column) ?? { least: number, most: number };
      found.set(column, { least: Math.min(least, number), most: Math.max(most, number) });
    });
    return [...found].sort(([a], [b]) => a - b).map(([column, { least, most }]) => ({
      column,
      said: `Expected contexts within those of training; ${called(column, names)} has ${least} .. ${most}, and training had ${range.low[column]} .. ${range.high[column]}. Nothing was fitted there.`,
    }));
  }

  /** All columns, where a context names no class by 1 in its place and 0 elsewhere. */
  #nameless(numbers) {
    const { dim, classes } = this.context;
    for (let begin = 0; begin < numbers.length; begin += dim) {
      const row = numbers.subarray(begin, begin + dim);
      if (row.every((number) => number === 0 || number === 1) && row.reduce((sum, number) => sum + number) === 1) continue;
      const said = `Expected contexts that name one of ${dim} classes, by 1 in its place and 0 elsewhere; row ${begin / dim} (from 0) names none. Nothing was fitted there.`;
      return classes.map((_, column) => ({ column, said }));
    }
    return [];
  }

  #tell(beyond) {
    const fresh = beyond.filter(({ column }) => !this.#warned.has(column));
    for (const { column } of fresh) this.#warned.add(column);
    for (const sentence of new Set(fresh.map(({ said }) => said))) this.#warn(sentence);
  }

  #data(numbers) {
    const rows = this.#rows(numbers, "x");
    if (this.domain) return this.#inside(numbers, rows);
    if (this.levels === null) return rows;
    const wrong = numbers.findIndex((number) => !(number >= 0 && number < this.levels));
    if (wrong >= 0)
      throw new LunetError(`Expected x in [0, ${this.levels}): grey level plus noise; ${this.#place(wrong)} is ${numbers[wrong]}.`);
    const largest = previous(this.levels, this.Array);
    return rows.map((number) => Math.min(number, largest)); // a number that rounds up to the border is moved inside
  }

  #inside(numbers, rows) {
    const { low, high, closed } = this.domain;
    const borders = low.map((least, column) => [least ?? -Infinity, high[column] ?? Infinity]);
    const wrong = numbers.findIndex((number, index) => {
      const [least, most] = borders[index % this.dim];
      return !(closed ? number >= least && number <= most : number > least && number < most);
    });
    if (wrong >= 0) {
      const column = wrong % this.dim, [left, right] = closed ? "[]" : "()";
      throw new LunetError(`Expected x in ${left}${borders[column].join(", ")}${right} in column ${column + 1}; row ${Math.floor(wrong / this.dim)} (from 0) is ${numbers[wrong]}. The density is not defined there.`);
    }
    // A number that rounds to a border or beyond it is moved inside.
    const ends = borders.map(([least, most]) => [-innermost(-least, closed, this.Array), innermost(most, closed, this.Array)]);
    return rows.map((number, index) => Math.min(Math.max(number, ends[index % this.dim][0]), ends[index % this.dim][1]));
  }

  #place(index, wide = this.dim) {
    return `row ${Math.floor(index / wide)} (from 0), column ${index % wide + 1}`;
  }
}

/**
 * Compare a flow with its test vectors.
 * @returns a list of { name, passed, ratio: largest difference over its tolerance, row, difference, tolerance }
 */
export async function replay(flow) {
  const { density, sampling } = await flow.vectors();
  const flat = (rows, name, wide = flow.dim) => {
    if (!(rows?.length > 0) || rows.some((row) => row.length !== wide))
      throw new LunetError(`Expected ${name} of vectors.json in rows of ${wide} numbers; got others. Export again.`);
    return rows.flat();
  };
  const given = (rows, count, name) => {
    if (Boolean(rows) !== Boolean(flow.context) || (rows && rows.length !== count))
      throw new LunetError(`Expected ${name} of vectors.json ${flow.context ? "for each row" : "to be missing"}, as the manifest says; got others. Export again.`);
    return rows ? { context: flat(rows, name, flow.context.dim) } : {};
  };
  const of = given(density.context, density.x?.length, "density.context");
  const found = await flow.density(flat(density.x, "density.x"), of);
  if (flow.classes) {
    const checks = ["class_log_prob", "log_prob", "posterior"].map((name) =>
      compare(`density ${name}`, density[name], found[name], density.tolerance[name]));
    for (const [label, part] of sampling.entries()) {
      const x = await flow.decode(flat(part.z, "sampling.z"), label);
      checks.push(compare(`sampling_${label} x`, part.x, x, part.tolerance.x));
    }
    return checks;
  }
  const back = await flow.decode(found.z, of);
  const drawn = given(sampling.context, sampling.z?.length, "sampling.context");
  const x = await flow.decode(flat(sampling.z, "sampling.z"), drawn);
  const again = await flow.density(x, drawn);
  const predicted = flow.manifest.certificate?.rows.round_trip ?? [];
  return [
    compare("density z", density.z, found.z, density.tolerance.z),
    compare("density log_prob", density.log_prob, found.log_prob, density.tolerance.log_prob),
    compare("sampling x", sampling.x, x, sampling.tolerance.x),
    compare("x -> z -> x", density.x, back, density.tolerance.x.map((most, row) => Math.min(most, 2 * (predicted[row] ?? Infinity)))),
    compare("z -> x -> z", sampling.z, again.z, sampling.tolerance.z, sampling.clamped),
    compare("log_prob of sampled x", sampling.log_prob, again.log_prob, sampling.tolerance.log_prob, sampling.clamped),
  ];
}

/** The four 32-bit words of Philox4x32-10. */
export function philox([c0, c1, c2, c3], [k0, k1]) {
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = product(c0, MULTIPLIERS[0]);
    const [high1, low1] = product(c2, MULTIPLIERS[1]);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL[0]) >>> 0;
    k1 = (k1 + WEYL[1]) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The words of columns 4 group .. 4 group + 3 of a row; `seed` is a number or a BigInt below 2^64. */
export function words(seed, row, group, stream = NORMAL) {
  const whole = typeof seed === "bigint" || Number.isSafeInteger(seed) ? BigInt(seed) : -1n;
  if (whole < 0n || whole >= 1n << 64n)
    throw new LunetError(`Expected a whole seed in [0, 2^64); got ${seed}. Above 2^53 give a BigInt.`);
  const key = [Number(whole & 0xffffffffn), Number(whole >> 32n)];
  return philox([group, row % 2 ** 32, Math.floor(row / 2 ** 32), stream], key);
}

/** Standard normal numbers of rows first .. first + rows - 1, by the Box-Muller transform. */
export function normal(seed, first, rows, dim) {
  return numbers(seed, first, rows, dim, NORMAL, ([w0, w1, w2, w3]) => [w0, w2].flatMap((word, pair) => {
    const radius = Math.sqrt(-2 * Math.log((word + 0.5) / 2 ** 32));
    const angle = (2 * Math.PI * [w1, w3][pair]) / 2 ** 32;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  }));
}

/** Uniform numbers in [0, 1), which are added to integer grey levels to make x. */
export function uniform(seed, first, rows, dim, draw = 0) {
  return numbers(seed, first, rows, dim, UNIFORM + draw, (four) => four.map((word) => word / 2 ** 32));
}

/** A class for each row, drawn from the priors. */
export function classes(seed, first, rows, priors) {
  return Array.from({ length: rows }, (_, index) => {
    const u = words(seed, first + index, 0, CLASS)[0] / 2 ** 32;
    let sum = 0;
    const found = priors.findIndex((prior) => u < (sum += prior));
    return found < 0 ? priors.length - 1 : found;
  });
}

function numbers(seed, first, rows, dim, stream, transform) {
  const result = new Float64Array(rows * dim);
  for (let row = 0; row < rows; row++)
    for (let group = 0; 4 * group < dim; group++)
      result.set(transform(words(seed, first + row, group, stream)).slice(0, dim - 4 * group), row * dim + 4 * group);
  return result;
}

/** High and low word of a product of 32-bit words, computed by halves, as doubles hold 53 bits only. */
function product(a, b) {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const high = a1 * b1 + Math.floor(middle / 65536) + Math.floor((a0 * b1 + (middle % 65536)) / 65536);
  return [high >>> 0, Math.imul(a, b) >>> 0];
}

/** The numbers of an output. Tensors before 1.17 are on the CPU and have no getData. */
function dataOf(tensor) {
  return tensor.getData ? tensor.getData() : tensor.data;
}

function compare(name, expected, got, tolerance, skipped = null) {
  const rows = expected.length, wide = got.length / rows;
  const short = [tolerance, skipped ?? tolerance].some((list) => list.length !== rows);
  if (short || expected.some((row) => [row].flat().length !== wide))
    throw new LunetError(`Expected rows and tolerances of ${name} in vectors.json, as many as x; got others. Export again.`);
  const worst = { name, passed: true, ratio: 0, row: 0, difference: 0, tolerance: Infinity };
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < wide; column++) {
      const difference = Math.abs([expected[row]].flat()[column] - got[row * wide + column]);
      const most = [tolerance[row]].flat()[Array.isArray(tolerance[row]) ? column : 0];
      if (skipped?.[row] || difference / most <= worst.ratio) continue;
      const ratio = difference / most;
      Object.assign(worst, { ratio, row, difference, tolerance: most, passed: ratio <= 1 });
      if (Number.isNaN(ratio)) return worst; // NaN is a failure
    }
  return worst;
}

function refuseOld(ort) {
  const version = ort.env?.versions?.web ?? ort.env?.versions?.node ?? ort.env?.versions?.common;
  const [major, minor] = (version ?? "0.0").split(".").map(Number);
  if (major < 1 || (major === 1 && minor < OLDEST))
    throw new LunetError(`Expected ONNX Runtime 1.${OLDEST} or newer; got ${version ?? "one that is older than that"}. Install a newer one.`, 3);
}

function refuseManifest(manifest) {
  if (manifest?.format !== "lunet_export")
    throw new LunetError('Expected manifest.json of format "lunet_export"; this is another file. Export again.');
  // Mixtures of version 2 may have other flows, or more graphs than are run here; other folders of version 2 are conditional.
  const versions = manifest.classes ? [1, 2] : manifest.model?.context ? [2] : [1];
  if (!versions.includes(manifest.format_version))
    throw new LunetError(`Expected format version ${versions.join(" or ")}; got ${manifest.format_version}. Take the lunet.mjs of the lunet-export that wrote it.`);
  if (!(Number.isInteger(manifest.model?.dim) && manifest.model.dim > 0 && Object.hasOwn(ARRAYS, manifest.dtype) && manifest.batch?.[1] >= 1))
    throw new LunetError("Expected a whole manifest.json; model.dim, dtype or batch is missing or wrong. Export again.");
  const { domain, dim, context } = manifest.model;
  const borders = (list) => Array.isArray(list) && list.length === dim && list.every((one) => one === null || Number.isFinite(one));
  const whole = () => borders(domain.low) && borders(domain.high) && typeof domain.closed === "boolean" &&
    domain.low.every((least, column) => (least ?? -Infinity) < (domain.high[column] ?? Infinity));
  if (domain && !whole()) throw new LunetError("Expected a whole manifest.json; model.domain is wrong. Export again.");
  if (context && (manifest.classes || !isContext(context)))
    throw new LunetError("Expected a whole manifest.json; model.context is wrong. Export again.");
}

function isContext({ dim, names, range, classes }) {
  const each = (list, good) => Array.isArray(list) && list.length === dim && list.every(good);
  const named = () => each(names, (name) => typeof name === "string") && new Set(names).size === dim;
  const ends = () => [range.low, range.high].every((end) => each(end, Number.isFinite)) && range.low.every((least, column) => least <= range.high[column]);
  const whole = () => each(classes, (one) => typeof one?.name === "string");
  return Number.isInteger(dim) && dim > 0 && (!names || named()) && (!range || ends()) && (!classes || whole());
}

function samplers({ classes }) {
  return classes ? classes.map((_, label) => `sampling_${label}`) : ["sampling"];
}

function refuseShape(session, name, { dim, context }) {
  const widths = { [name === "density" ? "x" : "z"]: dim, ...(context ? { context: context.dim } : {}) };
  const inputs = Object.keys(widths);
  if (session.inputNames.join() !== inputs.join())
    throw new LunetError(`Expected ${name}.onnx to take ${inputs.join(" and ")}, as the manifest says; it takes ${session.inputNames.join(" and ")}. Export again.`);
  for (const { name: input, shape } of session.inputMetadata ?? []) // since 1.22
    if (shape && shape.at(-1) !== widths[input])
      throw new LunetError(`Expected ${name}.onnx with rows of ${widths[input]} numbers in ${input}, as the manifest says; got ${shape.at(-1)}. Export again.`);
}

/**
 * Refuse weights in another file: ONNX Runtime would read whatever file the graph names. A tensor that names one has the
 * string "location" after its length, 8 or padded; no string of our graphs looks like that.
 */
function refuseOutside(graph, file) {
  const word = new TextEncoder().encode("location");
  for (let at = graph.indexOf(word[0], 1); at > 0; at = graph.indexOf(word[0], at + 1))
    if ((graph[at - 1] === 8 || graph[at - 1] === 0) && word.every((letter, i) => graph[at + i] === letter))
      throw new LunetError(`Expected ${file} to hold its weights; it keeps them in another file, which is not read. Export again.`);
}

async function needed(read, file) {
  const bytes = await read(file);
  if (!bytes) throw new LunetError(`Expected ${file} in the exported folder; it is missing. Export again.`);
  return bytes;
}

async function verified(file, bytes, expected) {
  if (!globalThis.crypto?.subtle) return bytes; // a page over plain http, and not from localhost
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const got = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (got !== expected)
    throw new LunetError(`Expected ${file} with SHA-256 ${expected?.slice(0, 12)}…; got ${got.slice(0, 12)}…. It was altered after export; export again.`);
  return bytes;
}

function parsed(bytes, file) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new LunetError(`${file} is not valid JSON. Export again.`);
  }
}

/** What a column, from 0, is called in a sentence. */
function called(column, names) {
  return `column ${column + 1}${names ? ` (${names[column]})` : ""}`;
}

function joined(parts, Kind) {
  const whole = new Kind(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

/** The largest number of an array type below a number of that type. */
function previous(number, Kind) {
  if (number === 0) return -Number.MIN_VALUE;
  const one = new Kind([number]);
  const bits = new (Kind === Float32Array ? Int32Array : BigInt64Array)(one.buffer);
  number > 0 ? bits[0]-- : bits[0]++;
  return one[0];
}

/** The largest number of an array type inside an upper border. Open domains end before denormal numbers. */
function innermost(border, closed, Kind) {
  if (!Number.isFinite(border)) return border;
  const [rounded] = new Kind([border]), tiny = Kind === Float32Array ? 2 ** -126 : 2 ** -1022;
  const end = (closed ? rounded <= border : rounded < border) ? rounded : previous(rounded, Kind);
  return !closed && end !== 0 && Math.abs(end) < tiny ? Math.sign(end) * tiny : end;
}

function line(error) {
  if (typeof error === "number") return "it failed"; // a WebAssembly exception, which is only an address
  const said = String(error?.message ?? error);
  return said.slice(Math.max(0, said.indexOf("[ONNXRuntimeError]"))).split("\n")[0].replace(/\.$/, "");
}
