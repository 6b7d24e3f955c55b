// A sheet of pixels that small pictures are stamped on. Ten thousand stamps take milliseconds here;
// as many drawings on a canvas without a graphics card take tenths of a second. No I/O.

/** Pixels as 32-bit numbers: red, green, blue, alpha from the lowest byte on, as in ImageData. */
export class Sheet {
  /** @param {Uint32Array} pixels row by row @param {number} width @param {number} height */
  constructor(pixels, width, height) {
    Object.assign(this, { pixels, width, height });
  }

  /** Make a part of it, whose edges are whole pixels, transparent again. */
  clear({ left, top, right, bottom }) {
    for (let row = Math.max(0, top); row < Math.min(this.height, bottom); row += 1) {
      const start = row * this.width;
      this.pixels.fill(0, start + Math.max(0, left), start + Math.min(this.width, right));
    }
  }

  /**
   * Put a square picture on it; what lies outside of `within` is left out.
   * @param {{pixels: Uint32Array, size: number}} stamp
   * @param {number} x its left edge @param {number} y its top edge
   */
  put(stamp, x, y, within) {
    const left = Math.max(within.left, x, 0);
    const right = Math.min(within.right, x + stamp.size, this.width);
    const bottom = Math.min(within.bottom, y + stamp.size, this.height);
    for (let row = Math.max(within.top, y, 0); row < bottom; row += 1) {
      let to = row * this.width + left;
      let from = (row - y) * stamp.size + left - x;
      for (let column = left; column < right; column += 1, to += 1, from += 1) {
        const pixel = stamp.pixels[from];
        const alpha = pixel >>> 24;
        if (alpha === 255) this.pixels[to] = pixel;
        else if (alpha) this.pixels[to] = over(pixel, this.pixels[to]);
      }
    }
  }
}

/** One pixel over another (Porter and Duff's `over`), colours not multiplied by alpha. */
export function over(upper, lower) {
  const share = (upper >>> 24) / 255;
  const rest = ((lower >>> 24) / 255) * (1 - share);
  const alpha = share + rest;
  if (!alpha) return 0;
  const mixed = (shift) =>
    Math.round((((upper >>> shift) & 255) * share + ((lower >>> shift) & 255) * rest) / alpha);
  return (
    (mixed(0) | (mixed(8) << 8) | (mixed(16) << 16) | (Math.round(alpha * 255) << 24)) >>> 0
  );
}
