// The map itself, outside of the pages' virtual DOM: MapLibre owns its element.

import * as maplibre from "maplibre-gl";
import { gridOver } from "../lib/grid.js";
import { streetsOf } from "../lib/streets.js";
import { onThemeChange } from "../lib/theme.js";
import { deviceOpacity, paintTheme, styleOf } from "./style.js";
import { StreetLabels } from "./labels.js";

const FALLBACK = { south: 53.53, west: 8.55, north: 53.57, east: 8.62 };
const CLICK_PX = 6;
const CHOSEN_ZOOM = 16.5;
const UPDATE_MS = 250;

/** Start MapLibre's workers before there is a map to draw: they take longest. */
export function prewarm() {
  maplibre.setWorkerUrl(new URL(MAP_WORKER_URL, location.href).href);
  maplibre.prewarm();
}

/** Draws a fleet, tells what is clicked and what is in view. */
export class CityMap {
  #map;
  #labels;
  #unlisten = [];
  #fleet;
  #isDrawn = false;
  #changed = new Set();
  #timer = 0;

  /**
   * @param {HTMLElement} element
   * @param {{fleet: import("../lib/fleet.js").Fleet, geography: object | null,
   *   onPick: (index: number | null) => void, onMove: (box: object) => void,
   *   onDrawn: () => void}} parts
   */
  constructor(element, { fleet, geography, onPick, onMove, onDrawn }) {
    maplibre.setWorkerUrl(new URL(MAP_WORKER_URL, location.href).href);
    this.#fleet = fleet;
    const box = fleet.bounds() ?? FALLBACK;
    const { lines, labels } = streetsOf(fleet.columns);
    this.#map = new maplibre.Map({
      container: element,
      style: styleOf({
        grid: gridOver(box).lines, streets: lines, city: geography, devices: fleet.asGeoJson(),
      }),
      bounds: [[box.west, box.south], [box.east, box.north]],
      fitBoundsOptions: { padding: 40, maxZoom: 17 },
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      maxZoom: 20,
      minZoom: 3,
      fadeDuration: 0,
      renderWorldCopies: false,
      locale: { "Map.Title": "Map of the city's devices" },
    });
    this.#map.touchZoomRotate.disableRotation();
    this.#map.keyboard.disableRotation();
    this.#labels = new StreetLabels(this.#map, labels, maplibre.Marker);
    this.#map.addControl(new maplibre.ScaleControl({ unit: "metric" }), "bottom-left");
    const look = () => {
      if (!this.#map.isSourceLoaded("devices") || !this.#map.areTilesLoaded()) return;
      this.#map.off("render", look);
      this.#isDrawn = true;
      onDrawn();
      onMove(this.box());
      this.#labels.place();
      if (this.#fleet === fleet) this.#flush();
      else this.replace(this.#fleet);
    };
    this.#map.on("render", look);
    this.#map.on("moveend", () => onMove(this.box()));
    this.#map.on("click", ({ point }) => onPick(this.#deviceAt(point)));
    this.#map.on("mousemove", ({ point }) => {
      this.#map.getCanvas().style.cursor = this.#deviceAt(point, 2) === null ? "" : "pointer";
    });
    this.#unlisten.push(onThemeChange(() => paintTheme(this.#map)));
  }

  /**
   * Put the states of these devices on the map, soon: each drawing of the map costs far more than
   * what changed, so that changes of a quarter of a second are drawn together.
   * @param {number[]} indexes
   */
  update(indexes) {
    indexes.forEach((index) => this.#changed.add(index));
    if (this.#isDrawn) this.#timer ||= setTimeout(() => this.#flush(), UPDATE_MS);
  }

  #flush() {
    this.#timer = 0;
    for (const index of this.#changed) {
      this.#map.setFeatureState({ source: "devices", id: index }, { s: this.#fleet.states[index] });
    }
    this.#changed.clear();
  }

  /** Draw another fleet: devices came or went. Before the first one is drawn, it comes after that. */
  replace(fleet) {
    this.#fleet = fleet;
    this.#changed.clear();
    if (!this.#isDrawn) return;
    this.#map.removeFeatureState({ source: "devices" });
    this.#map.getSource("devices")?.setData(fleet.asGeoJson());
    const { lines, labels } = streetsOf(fleet.columns);
    this.#map.getSource("streets")?.setData(lines);
    this.#labels.replace(labels);
  }

  /** Once it is drawn. @param {boolean[]} shown by state */
  show(shown) {
    this.#map.setPaintProperty("devices", "circle-opacity", deviceOpacity(shown));
    this.#map.setPaintProperty("devices", "circle-stroke-opacity", deviceOpacity(shown));
  }

  /** Ring a device, and go there when it is asked for. */
  choose(place, { isMoving = false } = {}) {
    const features = place
      ? [{ type: "Feature", properties: {}, geometry: { type: "Point", coordinates: place } }]
      : [];
    this.#map.getSource("chosen")?.setData({ type: "FeatureCollection", features });
    if (place && isMoving) {
      const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const zoom = Math.max(this.#map.getZoom(), CHOSEN_ZOOM);
      this.#map.easeTo({ center: place, zoom, duration: isStill ? 0 : 500 });
    }
  }

  fit() {
    const box = this.#fleet.bounds();
    if (!box) return;
    this.#map.fitBounds([[box.west, box.south], [box.east, box.north]], {
      padding: 40, maxZoom: 17, animate: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    });
  }

  /** @param {number} by levels */
  zoom(by) {
    this.#map.zoomTo(this.#map.getZoom() + by, {
      animate: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    });
  }

  resize() {
    this.#map.resize();
  }

  box() {
    const bounds = this.#map.getBounds();
    return {
      south: bounds.getSouth(), west: bounds.getWest(), north: bounds.getNorth(), east: bounds.getEast(),
    };
  }

  /** Where a device is on the page, for tests and for who drives the page. */
  pixelOf(index) {
    const { longitude, latitude } = this.#fleet.columns;
    return this.#map.project([longitude[index], latitude[index]]);
  }

  remove() {
    clearTimeout(this.#timer);
    this.#unlisten.forEach((stop) => stop());
    this.#labels.remove();
    this.#map.remove();
  }

  #deviceAt(point, reach = CLICK_PX) {
    if (!this.#map.getLayer("devices")) return null;
    const box = [[point.x - reach, point.y - reach], [point.x + reach, point.y + reach]];
    let [best, nearest] = [null, Infinity];
    for (const { id, geometry } of this.#map.queryRenderedFeatures(box, { layers: ["devices"] })) {
      const at = this.#map.project(geometry.coordinates);
      const away = Math.hypot(at.x - point.x, at.y - point.y);
      if (away < nearest) [best, nearest] = [id, away];
    }
    return best;
  }
}
