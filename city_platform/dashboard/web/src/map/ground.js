// What is drawn under the devices: grid, areas, streets. Lines are kept as paths, so that moving the
// map is a few strokes, however many streets there are.

import { byZoom, xOf, yOf } from "../lib/mercator.js";

// Paths hold 32-bit floats: in these units, from the middle of the city, they are good to a pixel.
const UNITS = 512 * 2 ** 15;
const STREET_PX = byZoom(1.7, [[11, 1.2], [14, 4], [17, 15], [19, 36]]);
const EDGE_PX = byZoom(1.7, [[11, 2.2], [14, 6], [17, 18], [19, 41]]);
const OUTLINE_PX = byZoom(1.5, [[11, 1], [16, 2]]);

/** Draws GeoJSON as areas and lines around a fixed middle. */
export class Ground {
  #middle;
  #grid = new Path2D();
  #areas = new Path2D();
  #cityLines = new Path2D();
  #streets = new Path2D();
  #sites = new Path2D();

  /** @param {{x: number, y: number}} middle where the city is, on the map */
  constructor(middle) {
    this.#middle = middle;
  }

  set grid(lines) {
    this.#grid = this.#pathOf(lines, "Line");
  }

  /** @param {object | null} city GeoJSON of any kind */
  set city(city) {
    this.#areas = this.#pathOf(city, "Polygon");
    this.#cityLines = this.#pathOf(city, "Line");
  }

  set streets(lines) {
    this.#streets = this.#pathOf(lines, "Line");
  }

  set sites(areas) {
    this.#sites = this.#pathOf(areas, "Polygon");
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {import("../lib/mercator.js").View} view
   * @param {{ratio: number, colours: Record<string, string>}} look device pixels to a CSS pixel
   */
  draw(context, view, { ratio, colours }) {
    const { x, y } = view.pixelOf(this.#middle.x, this.#middle.y);
    const scale = view.scale / UNITS;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colours.ground;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    context.lineCap = context.lineJoin = "round";
    const stroke = (path, colour, px) => {
      context.strokeStyle = colour;
      context.lineWidth = px / scale;
      context.stroke(path);
    };
    stroke(this.#grid, colours.grid, 1);
    context.fillStyle = colours.area;
    context.fill(this.#areas, "evenodd");
    stroke(this.#sites, colours.outline, OUTLINE_PX(view.zoom));
    stroke(this.#cityLines, colours.edge, EDGE_PX(view.zoom));
    stroke(this.#streets, colours.edge, EDGE_PX(view.zoom));
    stroke(this.#cityLines, colours.street, STREET_PX(view.zoom));
    stroke(this.#streets, colours.street, STREET_PX(view.zoom));
  }

  /** The lines or the areas of what may be a collection, a feature or a geometry. */
  #pathOf(geojson, kind) {
    const path = new Path2D();
    for (const { type, coordinates } of geometriesOf(geojson)) {
      if (!type.includes(kind)) continue;
      linesIn(coordinates).forEach((line) => this.#add(path, line, kind === "Polygon"));
    }
    return path;
  }

  #add(path, line, isClosed) {
    line.forEach(([longitude, latitude], index) => {
      const x = (xOf(longitude) - this.#middle.x) * UNITS;
      const y = (yOf(latitude) - this.#middle.y) * UNITS;
      if (index) path.lineTo(x, y);
      else path.moveTo(x, y);
    });
    if (isClosed) path.closePath();
  }
}

function geometriesOf(one) {
  if (!one) return [];
  if (one.type === "FeatureCollection") return (one.features ?? []).flatMap(geometriesOf);
  if (one.type === "Feature") return geometriesOf(one.geometry);
  if (one.type === "GeometryCollection") return (one.geometries ?? []).flatMap(geometriesOf);
  return Array.isArray(one.coordinates) && typeof one.type === "string" ? [one] : [];
}

/** All lists of positions in coordinates of any depth. */
function linesIn(coordinates) {
  if (!Array.isArray(coordinates?.[0])) return [];
  return typeof coordinates[0][0] === "number" ? [coordinates] : coordinates.flatMap(linesIn);
}
