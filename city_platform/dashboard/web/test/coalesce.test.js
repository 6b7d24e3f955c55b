import assert from "node:assert/strict";
import { test } from "node:test";
import { coalescePerFrame } from "../src/lib/coalesce.js";

test("many messages become one delivery a frame, the latest of each device", () => {
  const frames = [];
  const delivered = [];
  const push = coalescePerFrame((run) => frames.push(run), (all) => delivered.push(all));
  push([{ endpoint: "a", presence: "online", values: { x: 1 } }]);
  push([{ endpoint: "a", values: { y: 2 } }, { endpoint: "b", alarm: "critical" }]);
  assert.equal(frames.length, 1);
  frames.shift()();
  assert.deepEqual(delivered, [[
    { endpoint: "a", presence: "online", values: { x: 1, y: 2 } },
    { endpoint: "b", alarm: "critical" },
  ]]);
  push([]);
  assert.equal(frames.length, 0);
});
