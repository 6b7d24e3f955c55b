// Where places are on the map: spherical Mercator, and the part of it that is in view. No I/O.
//
// A place on the map is x and y from 0 to 1, from the west and the north of the world.

const WORLD_PX = 512;
// Mercator's square ends here.
const LATITUDE_MAX = 85.0511;
const [ZOOM_MIN, ZOOM_MAX] = [3, 20];
const EARTH_M = 40_075_016.686;

/** @param {number} longitude in degrees */
export function xOf(longitude) {
  return (longitude + 180) / 360;
}

/** @param {number} latitude in degrees */
export function yOf(latitude) {
  const sine = Math.sin((clamp(latitude, -LATITUDE_MAX, LATITUDE_MAX) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
}

export function longitudeOf(x) {
  return x * 360 - 180;
}

export function latitudeOf(y) {
  return (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;
}

/** Grows by `base` to the power of the zoom between the stops; for widths and radii in pixels. */
export function byZoom(base, stops) {
  return (zoom) => {
    const next = stops.findIndex(([at]) => zoom < at);
    if (next === 0) return stops[0][1];
    if (next === -1) return stops.at(-1)[1];
    const [[from, low], [to, high]] = [stops[next - 1], stops[next]];
    return low + ((high - low) * (base ** (zoom - from) - 1)) / (base ** (to - from) - 1);
  };
}

/** What is in view: the middle, how near, and the size in CSS pixels. Never changed in place. */
export class View {
  constructor({ x, y, zoom, width, height }) {
    this.x = clamp(x, 0, 1);
    this.y = clamp(y, 0, 1);
    this.zoom = clamp(zoom, ZOOM_MIN, ZOOM_MAX);
    this.width = width;
    this.height = height;
    /** Pixels from west to east of the world. */
    this.scale = WORLD_PX * 2 ** this.zoom;
  }

  /** The view that shows a whole box of degrees. */
  static over({ south, west, north, east }, { width, height, padding = 40, zoomMax = 17 }) {
    const [left, right, top, bottom] = [xOf(west), xOf(east), yOf(north), yOf(south)];
    const room = (px) => Math.max(px - 2 * padding, 16) / WORLD_PX;
    const zoom = Math.log2(
      Math.min(room(width) / Math.max(right - left, 1e-9), room(height) / Math.max(bottom - top, 1e-9)),
    );
    return new View({
      x: (left + right) / 2, y: (top + bottom) / 2, zoom: Math.min(zoom, zoomMax), width, height,
    });
  }

  with(changes) {
    return new View({ ...this, ...changes });
  }

  /** @returns {{x: number, y: number}} in CSS pixels from the left and the top */
  pixelOf(x, y) {
    return {
      x: (x - this.x) * this.scale + this.width / 2, y: (y - this.y) * this.scale + this.height / 2,
    };
  }

  placeAt(px, py) {
    return {
      x: this.x + (px - this.width / 2) / this.scale, y: this.y + (py - this.height / 2) / this.scale,
    };
  }

  moved(dx, dy) {
    return this.with({ x: this.x - dx / this.scale, y: this.y - dy / this.scale });
  }

  /** Nearer or further, with what is at a pixel staying there. */
  zoomed(by, px = this.width / 2, py = this.height / 2) {
    const fixed = this.placeAt(px, py);
    const next = this.with({ zoom: this.zoom + by });
    return next.with({
      x: fixed.x - (px - this.width / 2) / next.scale, y: fixed.y - (py - this.height / 2) / next.scale,
    });
  }

  /** Part of the way to another view. @param {number} share from 0 to 1 */
  towards(other, share) {
    const zoom = this.zoom + (other.zoom - this.zoom) * share;
    // Along the way the far end comes closer as fast as the scale says, so that it does not swing.
    const scale = WORLD_PX * 2 ** zoom;
    const way = this.scale === other.scale
      ? share : (1 / this.scale - 1 / scale) / (1 / this.scale - 1 / other.scale);
    return this.with({
      zoom, x: this.x + (other.x - this.x) * way, y: this.y + (other.y - this.y) * way,
    });
  }

  /** South, west, north, east of what is in view, in degrees. */
  box() {
    const [first, last] = [this.placeAt(0, 0), this.placeAt(this.width, this.height)];
    return {
      south: latitudeOf(last.y), west: longitudeOf(first.x),
      north: latitudeOf(first.y), east: longitudeOf(last.x),
    };
  }

  get metresPerPixel() {
    return (EARTH_M * Math.cos((latitudeOf(this.y) * Math.PI) / 180)) / this.scale;
  }
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
