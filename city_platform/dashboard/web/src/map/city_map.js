// The map itself, outside of the pages' virtual DOM: two canvases, names of streets, a scale.
//
// It is drawn in two dimensions on purpose: without a graphics card WebGL needs seconds of
// processor time before the first circle (docs/design/dependencies.md).

import { gridOver } from "../lib/grid.js";
import { View, xOf, yOf } from "../lib/mercator.js";
import { outlinesOf } from "../lib/outlines.js";
import { streetsOf } from "../lib/streets.js";
import { onThemeChange } from "../lib/theme.js";
import { listenTo } from "./gestures.js";
import { Ground } from "./ground.js";
import { StreetLabels } from "./labels.js";
import { Points } from "./points.js";
import { showScale } from "./scale.js";
import { lookOf } from "./style.js";

const FALLBACK = { south: 53.53, west: 8.55, north: 53.57, east: 8.62 };
const REACH_PX = 4;
const CHOSEN_ZOOM = 16.5;
const EASE_MS = 350;
const STILL_MS = 120;

/** Draws a fleet, tells what is clicked and what is in view. */
export class CityMap {
  #element;
  #ground;
  #points;
  #labels;
  #canvases;
  #overlay;
  #view;
  #look;
  #fleet;
  #shown;
  #changed = new Set();
  #frame = 0;
  #isWhole = true;
  #chosen = null;
  #stillness = 0;
  #ending = new AbortController();
  #tell;

  /**
   * @param {HTMLElement} element
   * @param {{fleet: import("../lib/fleet.js").Fleet, shown: boolean[],
   *   onPick: (endpoint: string | null) => void, onMove: (box: object) => void,
   *   onDrawn: () => void}} parts
   */
  constructor(element, { fleet, shown, onPick, onMove, onDrawn }) {
    this.#element = element;
    this.#tell = { onPick, onMove, onDrawn };
    [this.#fleet, this.#shown] = [fleet, shown];
    this.#build();
    const box = fleet.bounds() ?? FALLBACK;
    this.#view = View.over(box, this.#size());
    this.#ground = new Ground({ x: xOf((box.west + box.east) / 2), y: yOf((box.south + box.north) / 2) });
    this.#ground.grid = gridOver(box).lines;
    this.#points = new Points(fleet);
    this.#labels = new StreetLabels(this.#overlay.names, this.#layOut());
    this.#look = lookOf();
    this.#listen();
    this.resize();
  }

  /** What is drawn under the devices. @param {object | null} geography GeoJSON */
  set geography(geography) {
    this.#ground.city = geography;
    this.#redraw();
  }

  /** The states of these devices are other ones. @param {number[]} indexes */
  update(indexes) {
    indexes.forEach((index) => this.#changed.add(index));
    this.#schedule();
  }

  /** Draw another fleet, or this one with devices more or less. */
  replace(fleet) {
    const wasEmpty = this.#fleet.bounds() === null;
    this.#fleet = fleet;
    this.#points.replace(fleet);
    this.#labels.replace(this.#layOut());
    this.#labels.choose(this.#view);
    if (wasEmpty) this.fit();
    this.#redraw();
  }

  /** @param {boolean[]} shown by state */
  show(shown) {
    this.#shown = shown;
    this.#redraw();
  }

  /** Ring a device, and go there when it is asked for. @param {string | null} endpoint */
  choose(endpoint, { isMoving = false } = {}) {
    this.#chosen = endpoint;
    const place = this.#place(endpoint);
    if (place && isMoving) {
      this.#go(this.#view.with({ ...place, zoom: Math.max(this.#view.zoom, CHOSEN_ZOOM) }));
    }
    this.#ring();
  }

  fit() {
    const box = this.#fleet.bounds();
    if (box) this.#go(View.over(box, this.#size()));
  }

  /** @param {number} by levels */
  zoom(by) {
    this.#go(this.#view.zoomed(by));
  }

  resize() {
    const ratio = globalThis.devicePixelRatio || 1;
    const { width, height } = this.#size();
    for (const canvas of this.#canvases) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.#view = this.#view.with({ width, height });
    this.#look.ratio = ratio;
    this.#redraw();
  }

  box() {
    return this.#view.box();
  }

  /** Where a device is on the page, for tests and for who drives the page. */
  pixelOf(endpoint) {
    const place = this.#place(endpoint);
    return place && this.#view.pixelOf(place.x, place.y);
  }

  /** The last live change that is in it, likewise. */
  get revision() {
    return this.#fleet.revision;
  }

  /** How much was drawn: for who asks whether it is little. */
  get work() {
    return { ...this.#points.work };
  }

  remove() {
    this.#ending.abort();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#stillness);
    this.#element.replaceChildren();
  }

  #build() {
    const made = (name, className) => {
      const element = document.createElement(name);
      element.className = className;
      this.#element.append(element);
      return element;
    };
    this.#canvases = [made("canvas", "map-ground"), made("canvas", "map-points")];
    this.#overlay = {
      names: made("div", "map-names"), ring: made("div", "map-ring"), scale: made("div", "map-scale"),
    };
    this.#overlay.names.setAttribute("aria-hidden", "true");
    this.#overlay.ring.hidden = true;
  }

  #listen() {
    const { signal } = this.#ending;
    const by = (next, isStep) => (isStep ? this.#go(next) : this.#move(next));
    listenTo(this.#element, {
      move: (dx, dy, isStep) => by(this.#view.moved(dx, dy), isStep),
      zoom: (levels, x, y, isStep) => by(this.#view.zoomed(levels, x, y), isStep),
      click: (x, y) => {
        const index = this.#points.at(this.#view, x, y, REACH_PX);
        this.#tell.onPick(index === null ? null : this.#fleet.columns.endpoint[index]);
      },
      hover: (x, y) => {
        const isOn = this.#points.at(this.#view, x, y, 1) !== null;
        this.#element.style.cursor = isOn ? "pointer" : "";
      },
    }, signal);
    signal.addEventListener("abort", onThemeChange(() => {
      this.#look = { ...lookOf(), ratio: this.#look.ratio };
      this.#redraw();
    }));
  }

  #size() {
    return { width: this.#element.clientWidth || 1, height: this.#element.clientHeight || 1 };
  }

  #place(endpoint) {
    const index = this.#fleet.indexes.get(endpoint);
    return index === undefined ? null : this.#points.placeOf(index);
  }

  /** Streets and sites as the devices stand; the names of the streets. */
  #layOut() {
    const { lines, labels } = streetsOf(this.#fleet.columns);
    this.#ground.streets = lines;
    this.#ground.sites = outlinesOf(this.#fleet.columns);
    return labels.map((one) => ({ ...one, x: xOf(one.longitude), y: yOf(one.latitude) }));
  }

  /** Go to another view in a few frames, or at once for who wants nothing to move. */
  #go(view) {
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (isStill) return void this.#move(view);
    const from = this.#view;
    const start = performance.now();
    const step = (now) => {
      if (this.#ending.signal.aborted || this.#easing !== step) return;
      const share = Math.min(1, Math.max(0, (now - start) / EASE_MS));
      const isOver = share === 1;
      this.#move(isOver ? view : from.towards(view, 1 - (1 - share) ** 3), step);
      if (!isOver) requestAnimationFrame(step);
    };
    this.#easing = step;
    requestAnimationFrame(step);
  }
  #easing = null;

  #move(view, easing = null) {
    this.#easing = easing;
    this.#view = view;
    this.#redraw();
  }

  #redraw() {
    this.#isWhole = true;
    this.#schedule();
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    const [ground, points] = this.#canvases.map((canvas) => canvas.getContext("2d"));
    const changed = [...this.#changed];
    this.#changed.clear();
    if (!this.#isWhole && this.#points.redraw(points, changed)) return;
    const isMoved = this.#isWhole;
    this.#isWhole = false;
    this.#points.draw(points, this.#view, this.#look, this.#shown);
    if (!isMoved) return;
    this.#ground.draw(ground, this.#view, this.#look);
    this.#labels.place(this.#view);
    this.#ring();
    showScale(this.#overlay.scale, this.#view);
    clearTimeout(this.#stillness);
    this.#stillness = setTimeout(() => this.#rest(), this.#tell.onDrawn ? 0 : STILL_MS);
  }

  /** The map stands still: names are chosen anew, and who listens is told what is in view. */
  #rest() {
    this.#labels.choose(this.#view);
    this.#tell.onMove(this.box());
    this.#tell.onDrawn?.();
    this.#tell.onDrawn = null;
  }

  #ring() {
    const place = this.#place(this.#chosen);
    const at = place && this.#view.pixelOf(place.x, place.y);
    const { ring } = this.#overlay;
    ring.hidden = !at;
    if (!at) return;
    const size = 2 * Points.radius(this.#view.zoom) + 14;
    ring.style.width = ring.style.height = `${size}px`;
    ring.style.transform = `translate(${at.x - size / 2}px, ${at.y - size / 2}px)`;
  }
}
