// Outlines of sites, drawn around the devices of each: a plain base where no city is configured.

const DEVICES_MIN = 3;

/**
 * A polygon around the devices of each site: the smallest without a dent.
 * @param {{longitude: number[], latitude: number[], site?: number[], sites?: string[]}} columns
 * @returns {object} GeoJSON
 */
export function outlinesOf({ longitude, latitude, site, sites }) {
  const bySite = (sites ?? []).map(() => []);
  for (let index = 0; index < longitude.length; index += 1) {
    const place = [longitude[index], latitude[index]];
    if (place.every(Number.isFinite) && (place[0] || place[1])) bySite[site?.[index]]?.push(place);
  }
  const features = bySite
    .map((places, index) => ({ name: sites[index], ring: hullOf(places) }))
    .filter(({ name, ring }) => name && ring.length >= DEVICES_MIN)
    .map(({ name, ring }) => ({
      type: "Feature", properties: { name }, geometry: { type: "Polygon", coordinates: [[...ring, ring[0]]] },
    }));
  return { type: "FeatureCollection", features };
}

/** The convex hull, counter-clockwise (Andrew's monotone chain). @param {number[][]} places */
export function hullOf(places) {
  const sorted = [...places].sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  const lower = chain(sorted);
  const upper = chain(sorted.reverse());
  return [...lower.slice(0, -1), ...upper.slice(0, -1)];
}

function chain(sorted) {
  const found = [];
  for (const place of sorted) {
    while (found.length >= 2 && turn(found.at(-2), found.at(-1), place) <= 0) found.pop();
    found.push(place);
  }
  return found;
}

function turn([ax, ay], [bx, by], [cx, cy]) {
  return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
}
