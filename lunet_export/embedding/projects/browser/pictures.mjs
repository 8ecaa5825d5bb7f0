// Rows as pictures on canvases, and drawings as rows.

/** The grey levels of a row: floor, clipped. Models without levels have 256. */
export function greyLevels(row, levels) {
  const most = (levels ?? 256) - 1;
  return Array.from(row, (number) => Math.min(Math.max(Math.floor(number), 0), most));
}

/** Paint a row on a canvas pixel by pixel, scaled to 0 .. 255 as `lunet-export sample` does. */
export function paint(canvas, row, { shape: [height, width, channels = 1], levels }) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const grey = greyLevels(row, levels), most = (levels ?? 256) - 1;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++)
    for (let channel = 0; channel < 4; channel++) {
      const from = channels === 1 ? 0 : channel;
      const opaque = channel === 3 && channels < 4;
      image.data[4 * pixel + channel] = opaque ? 255 : halfEven((255 / most) * grey[pixel * channels + from]);
    }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Round a number, halves to the even one as NumPy does. */
function halfEven(number) {
  const up = Math.round(number);
  return up - number === 0.5 && up % 2 ? up - 1 : up;
}

/** Whether rows of this shape are pictures: grey, grey with an axis of one channel, RGB or RGBA. */
export function showable(shape, dim) {
  return shape !== null && shape.length >= 2 && shape.length <= 3 && [1, 3, 4].includes(shape[2] ?? 1)
    && shape.reduce((product, length) => product * length) === dim;
}
