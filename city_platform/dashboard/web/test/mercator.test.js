import assert from "node:assert/strict";
import { test } from "node:test";
import { View, byZoom, latitudeOf, longitudeOf, xOf, yOf } from "../src/lib/mercator.js";

const isNear = (one, other, within = 1e-6) => assert.ok(Math.abs(one - other) < within, `${one} ${other}`);
const HARBOUR = { south: 53.53, west: 8.55, north: 53.57, east: 8.62 };

test("a place comes back from where it is on the map", () => {
  isNear(longitudeOf(xOf(8.57)), 8.57);
  isNear(latitudeOf(yOf(53.54)), 53.54);
  isNear(yOf(0), 0.5);
  // EPSG:3857 of 53.54 degrees north is 7,083,300 m from the equator.
  isNear((0.5 - yOf(53.54)) * 40_075_016.686, 7_083_263, 300);
});

test("a box that was asked for is in view, and its middle in the middle", () => {
  const view = View.over(HARBOUR, { width: 800, height: 600 });
  const box = view.box();
  assert.ok(box.south < HARBOUR.south && box.north > HARBOUR.north);
  assert.ok(box.west < HARBOUR.west && box.east > HARBOUR.east);
  const { x } = view.pixelOf(xOf((HARBOUR.west + HARBOUR.east) / 2), 0.3);
  isNear(x, 400, 0.01);
});

test("what is under the pointer stays there when one comes nearer", () => {
  const view = View.over(HARBOUR, { width: 800, height: 600 });
  const before = view.placeAt(123, 456);
  const at = view.zoomed(1.5, 123, 456).pixelOf(before.x, before.y);
  isNear(at.x, 123, 1e-3);
  isNear(at.y, 456, 1e-3);
});

test("a view goes all the way to another one, and ends there", () => {
  const from = View.over(HARBOUR, { width: 800, height: 600 });
  const to = from.zoomed(3, 10, 10);
  const end = from.towards(to, 1);
  isNear(end.x, to.x, 1e-12);
  isNear(end.zoom, to.zoom);
  isNear(from.towards(from.moved(50, 0), 0.5).x, from.moved(25, 0).x, 1e-12);
});

test("widths grow between the stops and stay beyond them", () => {
  const width = byZoom(1.5, [[9, 1], [13, 3]]);
  assert.equal(width(5), 1);
  assert.equal(width(20), 3);
  assert.ok(width(11) > 1 && width(11) < 3);
});
