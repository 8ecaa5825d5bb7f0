// node replay.mjs FOLDER [node|web]: check an exported folder, sample, score. Exit codes: 0 good, 1 a vector is outside its
// tolerance, 2 bad file or argument, 3 the runtime is missing, too old or cannot do it, 4 the operating system.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { LunetError } from "./lunet.mjs";
import { steps } from "./steps.mjs";

const PACKAGES = {
  node: { name: "onnxruntime-node", providers: ["cpu"] },
  web: { name: "onnxruntime-web", providers: ["wasm"] },
};
const MISSING = ["ENOENT", "ENOTDIR"];

process.stdout.on("error", (error) => {
  console.error(`Expected to print; the system says: ${error.message}.`);
  process.exit(4);
});

async function main([folder, which = "node"]) {
  if (!folder || !Object.hasOwn(PACKAGES, which)) throw new LunetError("Usage: node replay.mjs FOLDER [node|web]");
  const { name, providers } = PACKAGES[which];
  const ort = await import(name).catch((error) => {
    throw new LunetError(`Expected the package ${name}; ${String(error.message).split("\n")[0]}. Run: npm install --ignore-scripts`, 3);
  });
  const read = (file) => readFile(join(folder, file)).catch((error) => {
    if (MISSING.includes(error.code)) return null;
    throw new LunetError(`Expected to read ${file} in ${folder}; ${error.message}.`, 4);
  });
  return steps(ort.env ? ort : ort.default, read, { providers, threads: 1 }, (line) => console.log(line));
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(error instanceof LunetError ? error.message : `Expected a whole exported folder; ${error.message}. Export again.`);
    process.exit(error.code in [0, 1, 2, 3, 4] ? error.code : 2);
  },
);
