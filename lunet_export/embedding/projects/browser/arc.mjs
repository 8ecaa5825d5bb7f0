// The way between two latents.

const PARALLEL = 1e-6; // sine of an angle below which the arc is its chord

/** The point at t, from 0 to 1, on the arc between two rows; the norm changes linearly (Shoemake, SIGGRAPH 1985). */
export function spherical(start, end, t) {
  const [first, last] = [norm(start), norm(end)];
  const cosine = dot(start, end) / (first * last || 1);
  const angle = Math.acos(Math.min(Math.max(cosine, -1), 1)), sine = Math.sin(angle);
  const mix = (from, to) => Float64Array.from(start, (_, i) => from * start[i] + to * end[i]);
  if (sine < PARALLEL || first === 0 || last === 0) return mix(1 - t, t);
  const radius = ((1 - t) * first + t * last) / sine;
  return mix((radius * Math.sin((1 - t) * angle)) / first, (radius * Math.sin(t * angle)) / last);
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function norm(a) {
  return Math.sqrt(dot(a, a));
}
