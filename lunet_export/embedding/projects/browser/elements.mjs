// Small helpers for the page's elements.

export function element(id) {
  return document.getElementById(id);
}

/** A new element with a class and children. */
export function made(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

let pending;

/** Announce a result to screen readers once it stops changing. */
export function announce(text) {
  clearTimeout(pending);
  pending = setTimeout(() => (element("live").textContent = text), 500);
}

export function nats(number, digits = 1) {
  return `${minus(number.toFixed(digits))} nats`;
}

export function bits(logProb, dim) {
  return `${minus((-logProb / (dim * Math.LN2)).toFixed(3))} bits/dim`;
}

export function percent(share) {
  if (share > 0.999) return "> 99.9 %";
  return share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

/** A number in so many significant digits at most. */
export function said(number, digits = 6) {
  return minus(String(Number(number.toPrecision(digits))));
}

function minus(text) {
  return text.replaceAll("-", "\u2212");
}
