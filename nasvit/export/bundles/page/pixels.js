// Pixels as the network takes them: resized with the arithmetic of Pillow, with which the network was evaluated.
// The resizing of canvases differs from browser to browser, and none smooths as Pillow does.

const BITS = 22; // of the fixed-point weights

/**
 * Bring a picture to the network's size.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture RGBA, as a canvas gives it
 * @param {{channels: number, side: number, crop_pct: number}} input what the network takes
 * @returns {Uint8ClampedArray[]} one plane of side * side bytes for each channel
 */
export function planesOf(picture, input) {
  const cut = cutOf(picture.width, picture.height, input);
  const channels = input.channels === 1 ? [gray(picture.data)] : [0, 1, 2].map((channel) => plane(picture.data, channel));
  return channels.map((each) => resized(each, picture.width, picture.height, cut, input.side));
}

/** Planes of bytes as the numbers from 0 to 1 of one image, (1, channels, side, side). */
export function numbersOf(planes) {
  const area = planes[0].length;
  const numbers = new Float32Array(planes.length * area);
  planes.forEach((each, channel) => each.forEach((value, at) => (numbers[channel * area + at] = value / 255)));
  return numbers;
}

/** Scores to probabilities. */
export function softmax(scores) {
  const largest = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - largest));
  const sum = powers.reduce((total, each) => total + each, 0);
  return powers.map((each) => each / sum);
}

/** Which part of the picture is resized to how many pixels, and where the network's square begins in these. */
function cutOf(width, height, { side, crop_pct: share }) {
  const short = Math.min(width, height);
  if (share === 1) {
    return { x: (width - short) / 2, y: (height - short) / 2, width: short, height: short, toX: side, toY: side, left: 0, top: 0 };
  }
  const scaled = roundHalfToEven(side / share);
  const [toX, toY] = [width, height].map((edge) => (edge === short ? scaled : Math.trunc((scaled * edge) / short)));
  return { x: 0, y: 0, width, height, toX, toY, left: roundHalfToEven((toX - side) / 2), top: roundHalfToEven((toY - side) / 2) };
}

/** First across, then down, each rounded to bytes; releases of Pillow differ in which goes first for tall pictures. */
function resized(bytes, width, height, cut, side) {
  const across = weightsOf(width, cut.x, cut.width, cut.toX, cut.left, side);
  const down = weightsOf(height, cut.y, cut.height, cut.toY, cut.top, side);
  const first = down[0].begin;
  const last = down[side - 1].begin + down[side - 1].weights.length;
  const narrow = new Uint8ClampedArray((last - first) * side);
  for (let row = first; row < last; row += 1) {
    across.forEach(({ begin, weights }, column) => {
      narrow[(row - first) * side + column] = summed(bytes, row * width + begin, 1, weights);
    });
  }
  const square = new Uint8ClampedArray(side * side);
  down.forEach(({ begin, weights }, row) => {
    for (let column = 0; column < side; column += 1) {
      square[row * side + column] = summed(narrow, (begin - first) * side + column, side, weights);
    }
  });
  return square;
}

function summed(bytes, begin, step, weights) {
  let sum = 1 << (BITS - 1);
  for (let number = 0; number < weights.length; number += 1) sum += bytes[begin + number * step] * weights[number];
  return Math.floor(sum / 2 ** BITS); // the array clamps to 0 to 255
}

/** Bicubic weights, widened where pixels are merged, for the outputs from begin on. */
function weightsOf(length, from, taken, given, begin, count) {
  const scale = taken / given;
  const wide = Math.max(scale, 1);
  const support = 2 * wide;
  return Array.from({ length: count }, (_, output) => {
    const center = from + (begin + output + 0.5) * scale;
    const low = Math.max(Math.trunc(center - support + 0.5), 0);
    const high = Math.min(Math.trunc(center + support + 0.5), length);
    const exact = Array.from({ length: high - low }, (_, place) => cubic((place + low - center + 0.5) * (1 / wide)));
    const sum = exact.reduce((total, each) => total + each, 0);
    return { begin: low, weights: exact.map((each) => fixed(sum === 0 ? each : each / sum)) };
  });
}

function fixed(weight) {
  return Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * 2 ** BITS);
}

function cubic(distance) {
  const x = Math.abs(distance);
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function plane(rgba, channel) {
  const bytes = new Uint8ClampedArray(rgba.length / 4);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = rgba[4 * at + channel];
  return bytes;
}

function gray(rgba) {
  const bytes = new Uint8ClampedArray(rgba.length / 4);
  for (let at = 0; at < bytes.length; at += 1) {
    bytes[at] = (rgba[4 * at] * 19595 + rgba[4 * at + 1] * 38470 + rgba[4 * at + 2] * 7471 + 0x8000) >> 16;
  }
  return bytes;
}

function roundHalfToEven(number) {
  const floor = Math.floor(number);
  return number - floor === 0.5 ? floor + (floor % 2) : Math.round(number);
}
