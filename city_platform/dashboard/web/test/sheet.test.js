import assert from "node:assert/strict";
import { test } from "node:test";
import { Sheet, over } from "../src/map/sheet.js";

const RED = 0xff0000ff;
const BLUE = 0xffff0000;
const EVERYWHERE = { left: 0, top: 0, right: 99, bottom: 99 };
const sheet = () => new Sheet(new Uint32Array(12), 4, 3);
const square = (pixel) => ({ pixels: new Uint32Array(4).fill(pixel), size: 2 });

test("a stamp covers its pixels and no others, and is cut off at the edge", () => {
  const one = sheet();
  one.put(square(RED), 3, -1, EVERYWHERE);
  assert.deepEqual([...one.pixels].map(Boolean), [0, 0, 0, 1, ...new Array(8).fill(0)].map(Boolean));
});

test("a stamp stays within the part that is drawn anew", () => {
  const one = sheet();
  one.put(square(RED), 0, 0, { left: 1, top: 0, right: 4, bottom: 1 });
  assert.deepEqual([one.pixels[0], one.pixels[1], one.pixels[5]], [0, RED, 0]);
});

test("clearing leaves what is beside it", () => {
  const one = sheet();
  one.pixels.fill(RED);
  one.clear({ left: 1, top: 1, right: 3, bottom: 9 });
  assert.equal(one.pixels.filter((pixel) => pixel === 0).length, 4);
  assert.equal(one.pixels[4], RED);
});

test("half a colour over another is half of both, over nothing it stays itself", () => {
  const half = 0x80_00_00_ff;
  assert.equal(over(half, 0), half);
  assert.equal(over(half, BLUE) >>> 24, 255);
  assert.equal(over(half, BLUE) & 255, 128);
  assert.equal((over(half, BLUE) >>> 16) & 255, 127);
  assert.equal(over(RED, BLUE), RED);
});
