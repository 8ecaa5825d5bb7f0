// Numbers that are round, for sliders and axes.

/** The least of 1, 2 or 5 times a power of ten that is at least a length. */
export function roundStep(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= length * (1 - 1e-9));
}

/** Multiples of a step from low to high. */
export function multiples(step, low, high) {
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** The stops of a slider: both ends, and round numbers between them, about `most` in all. */
export function stops(low, high, most = 100) {
  if (!(high > low)) return [low];
  return [low, ...multiples(roundStep((high - low) / most), low, high).filter((stop) => stop > low && stop < high), high];
}
