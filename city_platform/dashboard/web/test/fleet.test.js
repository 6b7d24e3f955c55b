import assert from "node:assert/strict";
import { test } from "node:test";
import { Fleet, STATES, stateOf } from "../src/lib/fleet.js";

const columns = () => ({
  epoch: "e", revision: 1, models: ["street_lamp"], tenants: ["t"], sites: ["s"],
  endpoint: ["a", "b", "c"], longitude: [8.5, 8.6, 0], latitude: [53.5, 53.6, 0],
  model: [0, 0, 0], tenant: [0, 0, 0], site: [0, 0, 0],
  presence: [2, 1, 0], alarm: [0, 2, 3], at_us: [1, null, null], values: {},
});

test("an alarm is seen before presence", () => {
  assert.equal(STATES[stateOf(2, 2)], "critical");
  assert.equal(STATES[stateOf(1, 1)], "warning");
  assert.equal(STATES[stateOf(2, 3)], "online");
});

test("changes move the counts and name only who changed state", () => {
  const fleet = new Fleet(columns());
  assert.deepEqual(fleet.counts, [1, 0, 1, 0, 1]);
  const changed = fleet.apply([
    { endpoint: "a", at_us: 5 }, { endpoint: "b", alarm: "none" }, { endpoint: "z", alarm: "none" },
  ]);
  assert.deepEqual(changed, [1]);
  assert.deepEqual(fleet.counts, [1, 1, 1, 0, 0]);
  assert.equal(fleet.at(0).at_us, 5);
});

test("devices without a place do not count for what is in view", () => {
  const fleet = new Fleet(columns());
  assert.deepEqual(fleet.bounds(), { south: 53.5, west: 8.5, north: 53.6, east: 8.6 });
});

test("devices come and go, and the others keep what is known of them", () => {
  const fleet = new Fleet({ ...columns(), fleet: 4 });
  fleet.apply([{ endpoint: "b", alarm: "warning" }]);
  const next = fleet.with({
    fleet: 9, removed: ["a", "never"],
    added: [
      { endpoint: "d", longitude: 8.7, latitude: 53.7, model: "water_meter", tenant: "t", site: "s",
        street: "Quay", presence: "online", alarm: null, at_us: 7 },
      { endpoint: "b", longitude: 9, latitude: 53.6, model: "street_lamp", tenant: "t", site: "s" },
    ],
  });
  assert.deepEqual(next.columns.endpoint, ["c", "d", "b"]);
  assert.deepEqual(next.columns.models, ["street_lamp", "water_meter"]);
  assert.equal(next.at(1).street, "Quay");
  assert.equal(next.at(1).state, "online");
  assert.equal(next.at(2).longitude, 9);
  assert.equal(next.at(2).state, "warning");
  assert.equal(next.membership, 9);
  assert.deepEqual(fleet.columns.endpoint, ["a", "b", "c"]);
});
