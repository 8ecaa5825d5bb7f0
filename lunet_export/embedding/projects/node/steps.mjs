// The steps of the programs in every language, line by line.
import * as lunet from "./lunet.mjs";

const NOISE = [[7n, 0], [7n, 2 ** 32 + 5], [2n ** 64n - 1n, 1]]; // seed, row
const SAMPLES = 100, TURNS = 20, CALLS = 10;
const PATIENCE = 5000; // most ms for all turns: a software GPU needs a second for one

/**
 * Open, replay, draw, score, time.
 * @param say function that takes each line
 * @returns 0 if every vector is within its tolerance, else 1
 */
export async function steps(ort, read, options, say) {
  const flow = await lunet.open(ort, read, options);
  const { name, kind } = flow.manifest.model;
  const { web, node, common } = ort.env.versions;
  const conditions = flow.context ? `, context of ${flow.context.dim} numbers` : "";
  say(`model ${name}: ${kind}, ${flow.dim} dimensions, ${flow.manifest.dtype}${conditions}`);
  say(`runtime ONNX Runtime ${web ?? node ?? common}, ${options.providers}`);

  const checks = await lunet.replay(flow);
  for (const { name, passed, ratio, row, difference, tolerance } of checks) {
    const where = passed ? "" : `; FAILED: row ${row} is off by ${digits(difference)}, tolerance ${digits(tolerance)}`;
    say(`vectors ${name}: ${digits(ratio)} of the tolerance${where}`);
  }

  for (const [seed, row] of NOISE) {
    const four = lunet.words(seed, row, 0).map((word) => word.toString(16).padStart(8, "0"));
    const numbers = Array.from(lunet.normal(seed, row, 1, 4), (number) => number.toFixed(9));
    say(`noise seed ${seed}, row ${row}: ${four.join(" ")}; ${numbers.join(" ")}`);
  }

  // A conditional flow is sampled and timed at the first context of its vectors.
  const of = flow.context ? { context: (await flow.vectors()).density.context[0] } : {};
  const x = await flow.sample(SAMPLES, { seed: 7, ...of });
  const { log_prob } = await flow.density(x, of);
  const first = Array.from(x.subarray(0, Math.min(4, flow.dim)), (number) => digits(number));
  say(`sample seed 7, row 0: ${first.join(" ")}; ${digits(log_prob[0])} nats, ${digits(-log_prob[0] / (flow.dim * Math.LN2))} bits/dim`);
  say(`sample seed 7, ${SAMPLES} rows: mean log_prob ${digits(log_prob.reduce((sum, one) => sum + one) / SAMPLES)} nats`);

  const z = flow.latent(1, { seed: 7 }), row = x.slice(0, flow.dim);
  const [density] = await median(() => flow.density(row, of)), [sampling, turns] = await median(() => flow.decode(z, of));
  say(`latency density ${density} ms, sampling ${sampling} ms: medians of ${turns} turns of ${CALLS} calls, batch 1`);
  await flow.close();

  const wrong = checks.filter((check) => !check.passed).length;
  say(wrong ? `${wrong} of ${checks.length} vectors are outside their tolerance` : `all ${checks.length} vectors are within their tolerance`);
  return wrong ? 1 : 0;
}

/** Milliseconds per call, and turns: the median over turns of calls, as a browser's clock is coarse; two turns warm up. */
async function median(call) {
  const times = [], start = performance.now();
  while (times.length < TURNS + 2 && (times.length < 3 || performance.now() - start < PATIENCE)) {
    const begin = performance.now();
    for (let number = 0; number < CALLS; number++) await call();
    times.push((performance.now() - begin) / CALLS);
  }
  const warm = times.slice(2).sort((a, b) => a - b);
  return [warm[warm.length >> 1].toFixed(3), warm.length];
}

/** Six significant digits, as the other languages print them. */
function digits(number) {
  const [mantissa, exponent] = Number(number).toExponential(5).split("e");
  if (!(exponent < -4 || exponent > 5)) return Number(number).toPrecision(6);
  return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
}
