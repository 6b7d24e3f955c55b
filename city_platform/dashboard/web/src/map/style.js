// What MapLibre draws: grid, streets, devices. No tiles, no glyphs, no sprites. The ground is the
// page's own: each kind of layer is one more shader to compile before the first map.

import { colour } from "../lib/theme.js";

const EMPTY = { type: "FeatureCollection", features: [] };
const STATE = ["coalesce", ["feature-state", "s"], ["get", "s"]];

/** Wider as one comes nearer. */
const RADIUS = ["interpolate", ["exponential", 1.5], ["zoom"], 9, 1.2, 13, 2.5, 15, 5, 17, 8, 19, 13];
const STREET_WIDTH = ["interpolate", ["exponential", 1.7], ["zoom"], 11, 1.2, 14, 4, 17, 15, 19, 36];
const EDGE_WIDTH = ["interpolate", ["exponential", 1.7], ["zoom"], 11, 2.2, 14, 6, 17, 18, 19, 41];

/** Of device circles by state number; `.state-mark .dot` looks the same. */
const EDGE_WIDTHS = [0.9, 2, 1.1, 0.9, 1.6];

/** @param {boolean[]} shown by state: those that are false are not drawn */
export function deviceOpacity(shown) {
  if (shown.every(Boolean)) return 1;
  return ["case", ["boolean", ["at", STATE, ["literal", shown]], true], 1, 0];
}

/** Device circles by state number: colours and, for who cannot tell these apart, edges. */
export function devicePaint() {
  const fills = ["--map-ground", "--map-ground", "--map-online", "--map-minor", "--map-alarm"];
  const edges = ["--map-offline", "--map-offline", "--map-online", "--map-edge", "--map-edge"];
  return {
    "circle-color": byState(fills.map(colour)),
    "circle-stroke-color": byState(edges.map(colour)),
    "circle-stroke-width": byState(EDGE_WIDTHS),
  };
}

function byState(values) {
  return ["match", STATE, ...values.flatMap((one, state) => [state, one]).slice(0, -2), values.at(-1)];
}

const line = (id, source, paint, filter) => ({
  id, type: "line", source, paint, ...(filter ? { filter } : {}),
  layout: { "line-cap": "round", "line-join": "round" },
});

/**
 * The whole style.
 * @param {{grid: object, streets: object, city: object | null, devices: object}} data GeoJSON
 */
export function styleOf({ grid, streets, city, devices }) {
  const source = (data) => ({ type: "geojson", data: data ?? EMPTY });
  const colours = coloursOf();
  const isArea = ["==", ["geometry-type"], "Polygon"];
  const isLine = ["==", ["geometry-type"], "LineString"];
  return {
    version: 8,
    sources: {
      grid: source(grid), streets: source(streets), city: source(city),
      devices: { ...source(devices), maxzoom: 16, tolerance: 0, buffer: 32 },
      chosen: source(EMPTY),
    },
    layers: [
      line("grid", "grid", { "line-width": 1, ...colours.grid }),
      { id: "city-area", type: "fill", source: "city", paint: colours["city-area"], filter: isArea },
      line("city-edge", "city", { "line-width": EDGE_WIDTH, ...colours["city-edge"] }, isLine),
      line("city-line", "city", { "line-width": STREET_WIDTH, ...colours["city-line"] }, isLine),
      line("street-edge", "streets", { "line-width": EDGE_WIDTH, ...colours["street-edge"] }),
      line("street", "streets", { "line-width": STREET_WIDTH, ...colours.street }),
      {
        id: "devices", type: "circle", source: "devices",
        layout: { "circle-sort-key": ["get", "s"] },
        paint: { "circle-radius": RADIUS, ...colours.devices },
      },
      {
        id: "chosen", type: "circle", source: "chosen",
        paint: {
          "circle-radius": ["interpolate", ["exponential", 1.5], ["zoom"], 9, 7, 16, 15, 19, 22],
          "circle-opacity": 0, "circle-stroke-width": 3, ...colours.chosen,
        },
      },
    ],
  };
}

/** The paint properties that go by the page's theme, by layer. */
function coloursOf() {
  const edge = { "line-color": colour("--map-street-edge") };
  const street = { "line-color": colour("--map-street") };
  return {
    grid: { "line-color": colour("--map-grid") },
    "city-area": { "fill-color": colour("--map-grid") },
    "city-edge": edge,
    "city-line": street,
    "street-edge": edge,
    street,
    devices: devicePaint(),
    chosen: { "circle-stroke-color": colour("--map-selected") },
  };
}

/** Put the colours of another theme on the layers. @param {import("maplibre-gl").Map} map */
export function paintTheme(map) {
  for (const [layer, properties] of Object.entries(coloursOf())) {
    for (const [name, value] of Object.entries(properties)) map.setPaintProperty(layer, name, value);
  }
}
