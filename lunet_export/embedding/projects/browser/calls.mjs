// Calls of the model, in turn and with their times.

import { element } from "./elements.mjs";

let tasks = 0; // that run now

function count(step) {
  tasks += step;
  element("panels").ariaBusy = String(tasks > 0);
}

/**
 * A function that handles only the newest request: while one runs, the last request waits and the others are dropped,
 * so that a picture follows a slider instead of lagging behind it.
 */
export function newest(task, failed) {
  let running = false, waiting = false;
  return async () => {
    waiting = true;
    if (running) return;
    running = true;
    count(1);
    try {
      while (waiting) {
        waiting = false;
        await task();
      }
    } catch (error) {
      failed(error);
    } finally {
      running = false;
      count(-1);
    }
  };
}

let last = Promise.resolve();

/** Run a call after the previous ones have ended, so that its time is its own. */
export function inTurn(call) {
  last = last.then(call, call);
  return last;
}

const KEPT = 200; // times that are kept per kind of call

/** The times of a panel's calls in one line: the last and the median of each kind. */
export class Times {
  #line; #kinds = new Map();

  constructor(line) {
    this.#line = line;
  }

  of(kind, rows, call) {
    return inTurn(async () => {
      const begin = performance.now();
      const result = await call();
      this.#note(kind, rows, performance.now() - begin);
      return result;
    });
  }

  clear() {
    this.#kinds.clear();
    this.#line.textContent = "";
  }

  #note(kind, rows, time) {
    if (this.#kinds.get(kind)?.rows !== rows) this.#kinds.set(kind, { rows, times: [], calls: 0 });
    const entry = this.#kinds.get(kind);
    entry.calls++;
    entry.times = [...entry.times, time].slice(-KEPT);
    this.#line.replaceChildren(...Array.from(this.#kinds, ([name, { rows, times, calls }]) => {
      const part = document.createElement("span");
      const [now, usual] = [times.at(-1), median(times)].map(said);
      part.textContent = `${name}, batch ${rows}: ${now}, median ${usual} of ${calls} call${calls === 1 ? "" : "s"}`;
      return part;
    }));
  }
}

/** A time as text; the clock of a browser may have whole milliseconds only. */
function said(time) {
  return time < 0.05 ? "under 1 ms" : `${time.toFixed(1)} ms`;
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
