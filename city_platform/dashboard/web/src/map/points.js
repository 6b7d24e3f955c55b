// The devices as circles on a canvas of their own. A circle is drawn once for each state and then
// stamped; a change draws anew only the squares of the screen that it touches.

import { byZoom, xOf, yOf } from "../lib/mercator.js";
import { isPlaced } from "../lib/fleet.js";
import { Sheet } from "./sheet.js";

/** Wider as one comes nearer. */
const RADIUS_PX = byZoom(1.5, [[9, 1.2], [13, 2.5], [15, 5], [17, 8], [19, 13]]);
/** Edges by state number; `.state-mark .dot` looks the same. */
const EDGE_PX = [0.9, 2, 1.1, 0.9, 1.6];
// Squares are small, so that few circles share one, but wider than a circle: each touches four at most.
const CELL_PX = 24;
// Beyond this share of the screen's squares a whole drawing costs less.
const WHOLE_FROM = 0.6;

/** Draws a fleet's devices and finds the one at a pixel. */
export class Points {
  #fleet;
  #xs;
  #ys;
  #view = null;
  #look = null;
  #shown = null;
  #stamps = [];
  #image = null;
  #sheet = null;
  #cells = new Map();
  #cell = CELL_PX;
  #order = [];
  /** What was done so far, for who asks whether it is little: circles stamped, whole drawings. */
  work = { circles: 0, wholes: 0 };

  constructor(fleet) {
    this.replace(fleet);
  }

  /** Take another fleet, or the same one with devices more or less. */
  replace(fleet) {
    const { longitude, latitude } = fleet.columns;
    this.#fleet = fleet;
    this.#xs = new Float64Array(fleet.count).fill(NaN);
    this.#ys = new Float64Array(fleet.count);
    for (let index = 0; index < fleet.count; index += 1) {
      if (!isPlaced(longitude[index], latitude[index])) continue;
      this.#xs[index] = xOf(longitude[index]);
      this.#ys[index] = yOf(latitude[index]);
    }
  }

  /**
   * Draw all that is in view.
   * @param {CanvasRenderingContext2D} context
   * @param {import("../lib/mercator.js").View} view
   * @param {{ratio: number, fills: string[], edges: string[]}} look
   * @param {boolean[]} shown by state
   */
  draw(context, view, look, shown) {
    this.work.wholes += 1;
    [this.#view, this.#shown] = [view, shown];
    this.#dress(view, look);
    this.#sort(view);
    const { width, height } = context.canvas;
    if (this.#image?.width !== width || this.#image?.height !== height) {
      this.#image = context.createImageData(width, height);
      this.#sheet = new Sheet(new Uint32Array(this.#image.data.buffer), width, height);
    } else this.#sheet.pixels.fill(0);
    const all = { left: 0, top: 0, right: width, bottom: height };
    // The worst lie on top.
    this.#order.forEach((indexes, state) => shown[state] && this.#stampAll(indexes, state, all));
    context.putImageData(this.#image, 0, 0);
  }

  /**
   * Draw devices whose state is another one, on what `draw` has drawn. False: too many squares of the
   * screen are touched, and a whole drawing costs less.
   * @param {number[]} indexes
   */
  redraw(context, indexes) {
    if (!this.#view) return false;
    const touched = new Set(indexes.flatMap((index) => this.#cellsOf(index)));
    const columns = Math.ceil(this.#view.width / this.#cell);
    const all = columns * Math.ceil(this.#view.height / this.#cell);
    if (touched.size > all * WHOLE_FROM) return false;
    for (const cell of touched) this.#redrawCell(context, cell);
    return true;
  }

  /** The nearest device that is shown, at most `reach` pixels beside its circle's middle. */
  at(view, px, py, reach) {
    const near = (reach + RADIUS_PX(view.zoom)) / view.scale;
    const { x, y } = view.placeAt(px, py);
    let [best, nearest] = [null, near * near];
    for (let index = 0; index < this.#fleet.count; index += 1) {
      const away = (this.#xs[index] - x) ** 2 + (this.#ys[index] - y) ** 2;
      if (!(away < nearest) || !this.#shown?.[this.#fleet.states[index]]) continue;
      [best, nearest] = [index, away];
    }
    return best;
  }

  /** Where a device is on the map; null when it has no place. */
  placeOf(index) {
    return Number.isNaN(this.#xs[index]) ? null : { x: this.#xs[index], y: this.#ys[index] };
  }

  static radius(zoom) {
    return RADIUS_PX(zoom);
  }

  /** A circle for each state, as pictures. */
  #dress(view, look) {
    const radius = RADIUS_PX(view.zoom);
    const key = `${radius.toFixed(2)} ${look.ratio} ${look.fills} ${look.edges}`;
    if (this.#look?.key === key) return;
    const half = Math.ceil((radius + Math.max(...EDGE_PX)) * look.ratio) + 1;
    this.#look = { key, half, ratio: look.ratio, reach: half / look.ratio };
    this.#cell = Math.max(CELL_PX, Math.ceil(2 * this.#look.reach));
    this.#stamps = EDGE_PX.map((edge, state) => {
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 2 * half;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.setTransform(look.ratio, 0, 0, look.ratio, half, half);
      context.beginPath();
      context.arc(0, 0, radius, 0, 2 * Math.PI);
      context.fillStyle = look.fills[state];
      context.fill();
      context.beginPath();
      context.arc(0, 0, radius + edge / 2, 0, 2 * Math.PI);
      context.lineWidth = edge;
      context.strokeStyle = look.edges[state];
      context.stroke();
      const { data } = context.getImageData(0, 0, 2 * half, 2 * half);
      return { pixels: new Uint32Array(data.buffer), size: 2 * half };
    });
  }

  /** Which devices are in view, by state, and in which squares of the screen. */
  #sort(view) {
    this.#cells = new Map();
    this.#order = EDGE_PX.map(() => []);
    const { reach } = this.#look;
    const [left, top] = [view.x - view.width / 2 / view.scale, view.y - view.height / 2 / view.scale];
    for (let index = 0; index < this.#fleet.count; index += 1) {
      const px = (this.#xs[index] - left) * view.scale;
      const py = (this.#ys[index] - top) * view.scale;
      if (!(px > -reach && py > -reach && px < view.width + reach && py < view.height + reach)) continue;
      this.#order[this.#fleet.states[index]].push(index);
      const key = cellOf(Math.floor(px / this.#cell), Math.floor(py / this.#cell));
      const cell = this.#cells.get(key);
      if (cell) cell.push(index);
      else this.#cells.set(key, [index]);
    }
  }

  #stampAll(indexes, state, within) {
    const { half, ratio } = this.#look;
    const view = this.#view;
    const scale = view.scale * ratio;
    const left = view.x * scale - (view.width / 2) * ratio + half;
    const top = view.y * scale - (view.height / 2) * ratio + half;
    for (const index of indexes) {
      const [x, y] = [Math.round(this.#xs[index] * scale - left), Math.round(this.#ys[index] * scale - top)];
      this.#sheet.put(this.#stamps[state], x, y, within);
    }
    this.work.circles += indexes.length;
  }

  /** The squares that a device's circle touches, where they are in view. */
  #cellsOf(index) {
    const at = this.#view.pixelOf(this.#xs[index], this.#ys[index]);
    if (Number.isNaN(at.x)) return [];
    const { reach } = this.#look;
    const within = (value, end) => value > -reach && value < end + reach;
    if (!within(at.x, this.#view.width) || !within(at.y, this.#view.height)) return [];
    const found = [];
    for (let x = Math.floor((at.x - reach) / this.#cell); x <= (at.x + reach) / this.#cell; x += 1) {
      for (let y = Math.floor((at.y - reach) / this.#cell); y <= (at.y + reach) / this.#cell; y += 1) {
        found.push(cellOf(x, y));
      }
    }
    return found;
  }

  #redrawCell(context, key) {
    const [column, row] = placeOf(key);
    const size = this.#cell * this.#look.ratio;
    // Whole device pixels, so that no seam shows between two squares.
    const [left, top] = [Math.floor(column * size), Math.floor(row * size)];
    const [right, bottom] = [Math.floor((column + 1) * size), Math.floor((row + 1) * size)];
    const part = { left, top, right, bottom };
    this.#sheet.clear(part);
    this.#touching(column, row).forEach((indexes, state) => {
      if (this.#shown[state]) this.#stampAll(indexes, state, part);
    });
    context.putImageData(this.#image, 0, 0, left, top, right - left, bottom - top);
  }

  /** The devices whose circles reach into a square, by state. */
  #touching(column, row) {
    const found = EDGE_PX.map(() => []);
    const { reach } = this.#look;
    const { scale, x, y, width, height } = this.#view;
    // From a place on the map to pixels from the square's middle.
    const middle = this.#cell / 2;
    const left = x * scale - width / 2 + column * this.#cell + middle;
    const top = y * scale - height / 2 + row * this.#cell + middle;
    for (let beside = column - 1; beside <= column + 1; beside += 1) {
      for (let above = row - 1; above <= row + 1; above += 1) {
        for (const index of this.#cells.get(cellOf(beside, above)) ?? []) {
          const isIn = Math.abs(this.#xs[index] * scale - left) < middle + reach
            && Math.abs(this.#ys[index] * scale - top) < middle + reach;
          if (isIn) found[this.#fleet.states[index]].push(index);
        }
      }
    }
    return found;
  }
}

// Squares as numbers, which are quicker keys than texts; one beside the screen on each side has one.
const ROWS = 4096;

function cellOf(column, row) {
  return (column + 1) * ROWS + row + 1;
}

function placeOf(key) {
  return [Math.floor(key / ROWS) - 1, (key % ROWS) - 1];
}
