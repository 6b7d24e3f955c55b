import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAge, formatBytes, formatNumber, formatValue, plural } from "../src/lib/format.js";

test("numbers are grouped and keep their sign", () => {
  assert.equal(formatNumber(1234567.891), "1\u202f234\u202f567.89");
  assert.equal(formatNumber(1234), "1234");
  assert.equal(formatNumber(-0.5), "−0.5");
  assert.equal(formatNumber(0.00012), "0.00012");
  assert.equal(formatNumber(Number.NaN), "–");
});

test("values carry their unit as people write it", () => {
  assert.equal(formatValue(80, "/100"), "80\u00a0%");
  assert.equal(formatValue(21.456, "Cel"), "21.46\u00a0°C");
  assert.equal(formatValue(true, ""), "yes");
  assert.equal(formatValue("<b>x</b>"), "<b>x</b>");
  assert.equal(formatValue(null, "W"), "–");
});

test("ages are in the largest whole unit", () => {
  const now = 1_780_000_000_000_000;
  assert.equal(formatAge(now - 500_000, now), "just now");
  assert.equal(formatAge(now - 12_000_000, now), "12 s ago");
  assert.equal(formatAge(now - 3 * 3600e6, now), "3 h ago");
  assert.equal(formatAge(null, now), "never");
  assert.equal(formatAge(now + 60e6, now), "in 1 min");
});

test("bytes and counts", () => {
  assert.equal(formatBytes(3400), "3.4 KB");
  assert.equal(plural(1, "device"), "1 device");
  assert.equal(plural(12000, "device"), "12\u202f000 devices");
});
