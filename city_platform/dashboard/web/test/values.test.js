import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeCommands, outcomeText } from "../src/lib/commands.js";
import { commandBody, dimmerOf, inModelUnit, parseValue, readRange } from "../src/lib/values.js";

test("what is typed becomes a typed value, or says what is expected", () => {
  assert.equal(parseValue("integer", " 80 ", "0..100"), 80);
  assert.equal(parseValue("float", "0,5"), 0.5);
  assert.equal(parseValue("boolean", true), true);
  assert.equal(parseValue("integer", "9007199254740993"), "9007199254740993");
  assert.throws(() => parseValue("integer", "101", "0..100"), /0 to 100/);
  assert.throws(() => parseValue("integer", "x"), /whole number/);
  assert.throws(() => parseValue("unsigned", "-1"), /0 or more/);
});

test("ranges are read only when they are two numbers", () => {
  assert.deepEqual(readRange("0..100"), [0, 100]);
  assert.equal(readRange("ON;OFF"), null);
});

test("a write says its path twice and a type", () => {
  const body = commandBody({ operation: "write", path: "3416/0/1", type: "integer", value: 80 });
  assert.deepEqual(body, {
    operation: "write", path: "/3416/0/1", expires_in_s: 60, mode: "update",
    values: [{ path: "/3416/0/1", type: "integer", value: 80 }],
  });
  assert.deepEqual(dimmerOf([{ path: "3/0/4" }, { path: "3416/0/1" }]), { path: "3416/0/1" });
});

test("readings are shown in the model's unit", () => {
  assert.equal(inModelUnit(0.8, { factor: 0.01, offset: 0 }), 80);
  assert.equal(inModelUnit("x", { factor: 0.01 }), "x");
});

test("an ended command stays ended when older news come late", () => {
  const ended = { id: "1", state: "succeeded", issued_at_us: 1 };
  assert.deepEqual(mergeCommands([ended], [{ id: "1", state: "sent", issued_at_us: 1 }]), [ended]);
  assert.equal(mergeCommands([ended], [{ id: "2", state: "sent", issued_at_us: 2 }])[0].id, "2");
  assert.match(outcomeText({ state: "unknown" }), /Nobody can know/);
});
