"use strict";
// Reads back what packing.py wrote: compressed arrays of whole numbers, as differences with their bytes apart.
const MISSING = -2147483648;

async function inflated(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function unpacked(described, bytes) {
  const arrays = {};
  let first = 0;
  for (const { name, shape, step } of described) {
    const count = shape.reduce((product, length) => product * length, 1);
    const values = new Float64Array(count);
    let whole = 0;
    for (let i = 0; i < count; i++) {
      const at = first + i;
      const change = bytes[at] | (bytes[at + count] << 8) | (bytes[at + 2 * count] << 16) | (bytes[at + 3 * count] << 24);
      whole = (whole + change) | 0;
      values[i] = whole === MISSING ? NaN : whole * step;
    }
    first += 4 * count;
    arrays[name] = { shape, values };
  }
  return arrays;
}

// The number at a position, or the numbers along the last axis where the position lacks it.
function at({ shape, values }, ...position) {
  let index = 0;
  shape.forEach((length, axis) => { index = index * length + (position[axis] ?? 0); });
  return position.length === shape.length ? values[index] : values.subarray(index, index + shape[shape.length - 1]);
}
