// node compat_replay.mjs PACKAGES FOLDER...: replay the test vectors of exported folders in the onnxruntime-web that lies in
// PACKAGES (its WebAssembly build, one thread, in Node), by the lunet.mjs that `lunet-export embed` writes. Prints JSON, as
// compat_replay.py does.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { open, replay } from "../lunet_export/embedding/projects/node/lunet.mjs";

const [packages, ...folders] = process.argv.slice(2);
const require = createRequire(pathToFileURL(join(resolve(packages), "package.json")));
const loaded = require("onnxruntime-web");
const ort = loaded.env ? loaded : loaded.default;
const { version } = JSON.parse(await readFile(join(packages, "node_modules", "onnxruntime-web", "package.json")));
const found = {};
for (const folder of folders) {
  const read = (file) => readFile(join(folder, file)).catch(() => null);
  try {
    const flow = await open(ort, read, { providers: ["wasm"], threads: 1 });
    const checks = await replay(flow);
    found[basename(folder)] = Object.fromEntries(checks.map(({ name, ratio }) => [name, { ratio }]));
    await flow.close();
  } catch (error) {
    found[basename(folder)] = { all: { said: String(error.message).split("\n")[0].slice(0, 300) } };
  }
}
// Not console.log: what the runtime itself prints goes there too.
process.stdout.write(`\n${JSON.stringify({ node: process.versions.node, version, folders: found })}\n`);
process.exit(0);
