import assert from "node:assert/strict";
import { test } from "node:test";
import { hullOf, outlinesOf } from "../src/lib/outlines.js";
import { roundDistance } from "../src/map/scale.js";

test("an outline goes around the devices and leaves out those within", () => {
  assert.deepEqual(hullOf([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2], [1, 0]]), [[0, 0], [2, 0], [2, 2], [0, 2]]);
});

test("a site of two devices has no outline, nor have devices without a place", () => {
  const found = outlinesOf({
    longitude: [1, 2, 2, 0, 1, 1], latitude: [1, 1, 2, 0, 1, 2],
    site: [0, 0, 0, 0, 1, 1], sites: ["pier", "hills"],
  });
  assert.deepEqual(found.features.map(({ properties }) => properties.name), ["pier"]);
  assert.equal(found.features[0].geometry.coordinates[0].length, 4);
});

test("the scale shows a round distance that fits", () => {
  assert.deepEqual(roundDistance(1), { metres: 100, px: 100 });
  assert.equal(roundDistance(0.6).metres, 50);
});
