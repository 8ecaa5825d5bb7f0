// A drawing, and its grey levels, made as the pictures of the model's data set were made.

const FINE = 280; // pixels of ink on the longer side, about
const MNIST = { box: 20, centre: 14.5 }; // of 28: the digits' longer side, and where their centre of mass lies
const SAID = {
  blocks: "A 32 × 32 bitmap; a level counts those set in a 4 × 4 block, as in scikit-learn's digits. Fill the frame.",
  centred: "Scaled to a box of 20 × 20, its centre of mass put at the centre, as in MNIST.",
  averaged: "Each pixel is the average of the ink on it.",
};

/** How drawings are read for a model: the number of ink pixels per pixel, and a sentence for the user. */
export function wayFor({ shape: [height, width, channels = 1], levels, name }) {
  if (height === 8 && width === 8 && channels === 1 && levels === 17)
    return { kind: "blocks", scale: 4, said: SAID.blocks };
  const scale = Math.max(1, Math.round(FINE / Math.max(height, width)));
  if (height === 28 && width === 28 && channels === 1 && levels === 256 && !/fashion/i.test(name))
    return { kind: "centred", scale, said: SAID.centred };
  return { kind: "averaged", scale, said: SAID.averaged };
}

/** Pixels from 0 to 1, in rows, with the channels of the model. */
export class Ink {
  constructor({ shape: [height, width, channels = 1] }, scale) {
    Object.assign(this, { scale, channels, height: height * scale, width: width * scale });
    this.clear();
  }

  clear() {
    this.pixels = new Float32Array(this.height * this.width * this.channels);
    this.blank = true;
  }

  /** A line with round ends between points [x, y], in pixels; `colour` has a number for each channel. */
  line([x0, y0], [x1, y1], radius, colour) {
    this.blank = false;
    const [dx, dy] = [x1 - x0, y1 - y0], square = dx * dx + dy * dy;
    const [left, right] = range(Math.min(x0, x1), Math.max(x0, x1), radius, this.width);
    const [top, bottom] = range(Math.min(y0, y1), Math.max(y0, y1), radius, this.height);
    for (let row = top; row < bottom; row++)
      for (let column = left; column < right; column++) {
        const [x, y] = [column + 0.5 - x0, row + 0.5 - y0];
        const along = square ? Math.min(Math.max((x * dx + y * dy) / square, 0), 1) : 0;
        if (Math.hypot(x - along * dx, y - along * dy) <= radius)
          this.pixels.set(colour, (row * this.width + column) * this.channels);
      }
  }

  /** Replace the drawing by a picture of the model's size. */
  take(levels, most) {
    this.blank = false;
    for (let row = 0; row < this.height; row++)
      for (let column = 0; column < this.width; column++) {
        const pixel = Math.floor(row / this.scale) * (this.width / this.scale) + Math.floor(column / this.scale);
        const colour = levels.slice(pixel * this.channels, (pixel + 1) * this.channels).map((level) => level / most);
        this.pixels.set(colour, (row * this.width + column) * this.channels);
      }
  }
}

/** The grey levels of ink. */
export function levelsOf(ink, kind, levels) {
  const { left, top, step } = kind === "centred" && !ink.blank ? centred(ink) : { left: 0, top: 0, step: ink.scale };
  const [height, width] = [ink.height / ink.scale, ink.width / ink.scale];
  return averages(ink, left, top, step, height, width).map((average) => Math.round(average * (levels - 1)));
}

/** The window, in pixels of ink, in which the drawing has the size and position of an MNIST digit. */
function centred(ink) {
  let [left, right, top, bottom, mass, x, y] = [Infinity, 0, Infinity, 0, 0, 0, 0];
  for (let row = 0; row < ink.height; row++)
    for (let column = 0; column < ink.width; column++) {
      const here = ink.pixels[row * ink.width + column];
      if (here === 0) continue;
      [left, right] = [Math.min(left, column), Math.max(right, column + 1)];
      [top, bottom] = [Math.min(top, row), Math.max(bottom, row + 1)];
      [mass, x, y] = [mass + here, x + here * (column + 0.5), y + here * (row + 0.5)];
    }
  const step = Math.max(right - left, bottom - top) / MNIST.box;
  const shift = (begin, sum) => begin - step * Math.round(MNIST.centre - (sum / mass - begin) / step); // whole pixels
  return { left: shift(left, x), top: shift(top, y), step };
}

/** The picture whose pixel (i, j) is the average over step x step of ink; there is no ink outside the canvas. */
function averages(ink, left, top, step, height, width) {
  const [rows, columns] = [shares(top, step, height, ink.height), shares(left, step, width, ink.width)];
  const result = [];
  for (const row of rows)
    for (const column of columns)
      for (let channel = 0; channel < ink.channels; channel++) {
        let sum = 0;
        for (const [i, high] of row)
          for (const [j, wide] of column) sum += high * wide * ink.pixels[(i * ink.width + j) * ink.channels + channel];
        result.push(sum);
      }
  return result;
}

/** Along one side: which pixels of ink each pixel of the picture covers, and by what share. */
function shares(begin, step, count, length) {
  return Array.from({ length: count }, (_, index) => {
    const [from, to] = [begin + index * step, begin + (index + 1) * step];
    const covered = [];
    for (let at = Math.max(0, Math.floor(from)); at < Math.min(length, Math.ceil(to)); at++)
      covered.push([at, (Math.min(to, at + 1) - Math.max(from, at)) / step]);
    return covered;
  });
}

function range(low, high, radius, length) {
  return [Math.max(0, Math.floor(low - radius)), Math.min(length, Math.ceil(high + radius))];
}
