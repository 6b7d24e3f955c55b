// The map's colours, as the stylesheet has them now.

import { colours } from "../lib/theme.js";

const GROUND = {
  ground: "--map-ground", grid: "--map-grid", area: "--map-grid", outline: "--map-outline",
  edge: "--map-street-edge", street: "--map-street",
};
/** Device circles by state number: colours and, for who cannot tell these apart, edges. */
const FILLS = ["--map-ground", "--map-ground", "--map-online", "--map-minor", "--map-alarm"];
const EDGES = ["--map-offline", "--map-offline", "--map-online", "--map-edge", "--map-edge"];

/** @returns {{colours: Record<string, string>, fills: string[], edges: string[]}} */
export function lookOf() {
  const read = colours();
  return {
    colours: Object.fromEntries(Object.entries(GROUND).map(([name, own]) => [name, read(own)])),
    fills: FILLS.map((own) => read(own)),
    edges: EDGES.map((own) => read(own)),
  };
}
