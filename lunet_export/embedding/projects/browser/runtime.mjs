// ONNX Runtime in this page, and the folder in model/. The builds are in ort/, beside this file.
import * as lunet from "./lunet.mjs";

const BUILDS = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i; // adapters that run on the CPU

/** The runtime that the address asks for with ?runtime=, or null. */
export function asked() {
  const name = new URLSearchParams(location.search).get("runtime");
  if (name !== null && !(name in BUILDS))
    throw new lunet.LunetError(`Expected ?runtime=wasm or ?runtime=webgpu in the address; got "${name}". Remove it.`);
  return name;
}

/** The WebGPU adapter of this browser: { name, software }, or { missing: the reason why there is none }. */
export async function adapter() {
  if (!isSecureContext) return { missing: "WebGPU and the verification of hashes need https or localhost; this page came over plain http." };
  if (!navigator.gpu) return { missing: "This browser has no WebGPU." };
  const found = await navigator.gpu.requestAdapter().catch(() => null);
  if (!found) return { missing: "This browser has WebGPU, but no graphics adapter for it." };
  const { description, vendor, architecture, isFallbackAdapter } = found.info ?? {};
  const name = description || [vendor, architecture].filter(Boolean).join(" ") || "unnamed adapter";
  return { name, software: Boolean(isFallbackAdapter ?? found.isFallbackAdapter) || SOFTWARE.test(name) };
}

/** ONNX Runtime's module for "wasm" or "webgpu", fetched only now. */
export async function load(name) {
  const folder = new URL("ort/", import.meta.url).href;
  const ort = await import(folder + BUILDS[name]).catch((error) => {
    throw new lunet.LunetError(`Expected ort/${BUILDS[name]} beside the page; ${error.message}. Write the page again.`, 3);
  });
  ort.env.wasm.wasmPaths = folder;
  ort.env.wasm.numThreads = 1; // more need the headers COOP and COEP, which few hosts send
  ort.env.logLevel = "error"; // it warns that a few nodes of WebGPU run on the CPU, which is expected
  return ort;
}

/** A file of model/, or null if there is none. */
export async function read(file) {
  const address = new URL(`model/${file}`, import.meta.url);
  // The browser must check its cache, since files of two exports do not match.
  const response = await fetch(address, { cache: "no-cache" }).catch((error) => {
    throw new lunet.LunetError(`Expected model/${file} from the server; ${error.message}. Check that the server still runs.`);
  });
  if (response.status === 404) return null;
  if (!response.ok)
    throw new lunet.LunetError(`Expected model/${file} from the server; it answers ${response.status}. Ask its owner.`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The sentence for an error of any kind. */
export function sentence(error) {
  if (error instanceof lunet.LunetError) return error.message;
  return `Expected a whole exported folder; ${error?.message ?? error}. Export again.`;
}
