import assert from "node:assert/strict";
import { test } from "node:test";
import { gridOver } from "../src/lib/grid.js";
import { streetsOf } from "../src/lib/streets.js";

test("a street is a line along its devices, broken at wide gaps", () => {
  const longitude = [8.5002, 8.5, 8.5004, 8.53, 8.5302];
  const columns = {
    longitude, latitude: longitude.map(() => 53.5), street: [0, 0, 0, 0, 0], streets: ["Quay"],
  };
  const { lines, labels } = streetsOf(columns);
  const runs = lines.features[0].geometry.coordinates;
  assert.deepEqual(runs.map((run) => run.map(([at]) => at)), [[8.5, 8.5002, 8.5004], [8.53, 8.5302]]);
  assert.deepEqual(labels.map(({ name, devices }) => [name, devices]), [["Quay", 5]]);
  assert.deepEqual(streetsOf({ longitude, latitude: [] }).labels, []);
});

test("the grid has round steps and few lines", () => {
  const { step_m, lines } = gridOver({ south: 53.5, west: 8.5, north: 53.53, east: 8.55 });
  assert.ok([100, 250, 500].includes(step_m));
  assert.ok(lines.geometry.coordinates.length < 130);
});
