// replay.html?runtime=wasm|webgpu: the steps of the programs in every language; the exit code goes to <html data-code>.
import { LunetError } from "./lunet.mjs";
import { adapter, asked, load, read, sentence } from "./runtime.mjs";
import { steps } from "./steps.mjs";

const output = document.getElementById("output");
const say = (line) => (output.textContent += `${line}\n`);

async function main() {
  const runtime = asked() ?? "wasm";
  if (runtime === "webgpu") {
    const { missing } = await adapter();
    if (missing) throw new LunetError(`Expected a WebGPU adapter. ${missing} Open replay.html?runtime=wasm.`, 3);
  }
  return steps(await load(runtime), read, { providers: [runtime] }, say);
}

main()
  .catch((error) => {
    say(sentence(error));
    return error instanceof LunetError ? error.code : 2;
  })
  .then((code) => (document.documentElement.dataset.code = code));
