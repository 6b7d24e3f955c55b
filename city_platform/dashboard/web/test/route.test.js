import assert from "node:assert/strict";
import { test } from "node:test";
import { menuOf, may } from "../src/lib/permissions.js";
import { addressOf, readRoute } from "../src/lib/route.js";

test("addresses go to pages and back, whatever an endpoint is called", () => {
  const address = addressOf("device", { endpoint: "urn:dev/1 <b>" });
  assert.deepEqual(readRoute(address), { page: "device", params: { endpoint: "urn:dev/1 <b>" } });
  assert.equal(readRoute("/").page, "overview");
  assert.equal(readRoute("/nowhere").page, "missing");
  assert.equal(readRoute("/devices/%E0%A4%A").page, "missing");
  assert.equal(addressOf("audit", {}, { who: "maria", device: "" }), "/audit?who=maria");
});

test("nobody is offered what is not theirs, or what is not there", () => {
  const analyst = { operations: ["search_devices", "read_alarms"], has: { telemetry: true } };
  assert.deepEqual(menuOf(analyst).map(({ page }) => page), ["overview", "map", "alarms"]);
  assert.equal(may(analyst, "issue_command"), false);
  assert.equal(may({ operations: ["search_audit"], has: { audit: false } }, "search_audit"), false);
  assert.equal(may(null, "search_devices"), false);
});
