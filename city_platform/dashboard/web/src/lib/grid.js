// A quiet grid under the city, in round metres, so that distances can be judged without tiles.

const METRES_PER_DEGREE = 111_320;
const LINES_MAX = 60;
const STEPS_M = [100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 100_000, 500_000];

/**
 * Grid lines over a box and somewhat beyond it.
 * @param {{south: number, west: number, north: number, east: number}} box
 * @returns {{step_m: number, lines: object}}
 */
export function gridOver(box) {
  const middle = (box.south + box.north) / 2;
  const scale = METRES_PER_DEGREE * Math.max(0.05, Math.cos((middle * Math.PI) / 180));
  const height = Math.max(box.north - box.south, 0.005);
  const width = Math.max(box.east - box.west, 0.005);
  const longest = Math.max(height * METRES_PER_DEGREE, width * scale) * 3;
  const step = STEPS_M.find((one) => longest / one <= LINES_MAX) ?? STEPS_M.at(-1);
  const [south, north] = [clamp(box.south - height, 85), clamp(box.north + height, 85)];
  const [west, east] = [clamp(box.west - width, 180), clamp(box.east + width, 180)];
  const coordinates = [
    ...ticks(west, east, step / scale).map((at) => [[at, south], [at, north]]),
    ...ticks(south, north, step / METRES_PER_DEGREE).map((at) => [[west, at], [east, at]]),
  ];
  const geometry = { type: "MultiLineString", coordinates };
  return { step_m: step, lines: { type: "Feature", properties: {}, geometry } };
}

function ticks(from, to, step) {
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

function clamp(value, limit) {
  return Math.min(limit, Math.max(-limit, value));
}
