// Streets drawn from the devices that stand along them: a city without a map of its own still
// looks like one.

const METRES_PER_DEGREE = 111_320;
const DEVICES_MIN = 3;
// A gap this many times the usual one is no street any more: a bridge, a square, another block.
const GAP_FACTOR = 6;
const GAP_MIN_M = 120;
// Lamps stand on both sides in turn: so many neighbours each way give the middle of the street.
const NEIGHBOURS = 5;

/**
 * Lines along the devices of each street, and where its name goes.
 * @param {{longitude: number[], latitude: number[], street?: number[], streets?: string[]}} columns
 * @returns {{lines: object, labels: {name: string, longitude: number, latitude: number, devices: number}[]}}
 */
export function streetsOf(columns) {
  const features = [];
  const labels = [];
  for (const [name, points] of byStreet(columns)) {
    if (!name || points.length < DEVICES_MIN) continue;
    const runs = splitAtGaps(alongStreet(points)).filter((run) => run.length >= 2);
    if (!runs.length) continue;
    const coordinates = runs.map(middleOf);
    features.push({
      type: "Feature",
      properties: {},
      geometry: { type: "MultiLineString", coordinates },
    });
    const longest = runs.reduce((best, run) => (run.length > best.length ? run : best));
    const [longitude, latitude] = longest[Math.floor(longest.length / 2)].at;
    labels.push({ name, longitude, latitude, devices: points.length });
  }
  labels.sort((one, other) => other.devices - one.devices);
  return { lines: { type: "FeatureCollection", features }, labels };
}

function byStreet({ longitude, latitude, street, streets }) {
  const found = new Map();
  if (!street || !streets) return found;
  for (let index = 0; index < street.length; index += 1) {
    const name = streets[street[index]];
    if (!Number.isFinite(longitude[index]) || !Number.isFinite(latitude[index])) continue;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ at: [longitude[index], latitude[index]] });
  }
  return found;
}

/** The points in order along the direction in which they spread most. */
function alongStreet(points) {
  const scale = Math.cos((points[0].at[1] * Math.PI) / 180);
  const metres = points.map(({ at }) => [
    at[0] * METRES_PER_DEGREE * scale,
    at[1] * METRES_PER_DEGREE,
  ]);
  const [meanX, meanY] = [0, 1].map(
    (axis) => metres.reduce((sum, one) => sum + one[axis], 0) / metres.length,
  );
  let [xx, xy, yy] = [0, 0, 0];
  for (const [x, y] of metres) {
    xx += (x - meanX) ** 2;
    xy += (x - meanX) * (y - meanY);
    yy += (y - meanY) ** 2;
  }
  const angle = 0.5 * Math.atan2(2 * xy, xx - yy);
  const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
  return points
    .map(({ at }, index) => {
      const [x, y] = [metres[index][0] - meanX, metres[index][1] - meanY];
      return { at, along: x * dx + y * dy, aside: y * dx - x * dy };
    })
    .sort((one, other) => one.along - other.along);
}

/** The middle of the street instead of a zigzag from side to side; its ends stay where they are. */
function middleOf(run) {
  return run.map((_, index) => {
    const reach = Math.min(NEIGHBOURS, index, run.length - 1 - index);
    const near = run.slice(index - reach, index + reach + 1);
    return [0, 1].map((axis) => {
      const mean = near.reduce((sum, { at }) => sum + at[axis], 0) / near.length;
      return Number(mean.toFixed(7));
    });
  });
}

function splitAtGaps(points) {
  const gaps = points.slice(1).map((point, index) => point.along - points[index].along);
  const usual = [...gaps].sort((one, other) => one - other)[Math.floor(gaps.length / 2)] ?? 0;
  const gapMax = Math.max(GAP_MIN_M, usual * GAP_FACTOR);
  const runs = [[points[0]]];
  for (const [index, gap] of gaps.entries()) {
    if (gap > gapMax) runs.push([]);
    runs.at(-1).push(points[index + 1]);
  }
  return runs;
}
