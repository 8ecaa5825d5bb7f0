// node parts.mjs PAGE MODELS.json: what the page's pure parts compute, as JSON, for a comparison with Python.
//
// PAGE is the folder of the page's files; lunet.mjs and the runtime are not needed. MODELS.json holds
// { "arcs": [[start, end, t] ..], "sliders": [[low, high] ..], "drawings": [{ "shape", "levels", "name",
// "ink": rows of numbers from 0 to 1 } ..] };
// the report { "arcs": rows, "sliders": stops, "drawings": [{ "kind", "levels" }] }.
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, models] = process.argv.slice(2);
const part = (name) => import(pathToFileURL(join(resolve(folder), name)).href);
const { spherical } = await part("arc.mjs");
const { Ink, levelsOf, wayFor } = await part("ink.mjs");
const { stops } = await part("scales.mjs");
const { arcs, sliders, drawings } = JSON.parse(await readFile(models, "utf8"));

console.log(JSON.stringify({
  arcs: arcs.map(([start, end, t]) => [...spherical(start, end, t)]),
  sliders: sliders.map(([low, high]) => stops(low, high)),
  drawings: drawings.map((drawing) => {
    const { kind, scale } = wayFor(drawing), ink = new Ink(drawing, scale);
    ink.pixels.set(drawing.ink.flat());
    ink.blank = drawing.ink.flat().every((share) => share === 0);
    return { kind, levels: levelsOf(ink, kind, drawing.levels) };
  }),
}));
