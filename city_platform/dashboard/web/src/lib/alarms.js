// Alarms as ingestion tells them: episodes with a state, or single raisings and clearings.

import { asWords } from "./format.js";

const TONES = { critical: "bad", major: "bad", warning: "warn", minor: "warn" };
const RANKS = { critical: 3, major: 2, minor: 1, warning: 1 };
const EVENT_FIELDS = ["endpoint", "path", "time_us", "alarm", "raised", "severity", "sequence", "value", "threshold"];

/**
 * Alarms as objects, the worst that stand first.
 * @param {{alarms: (object | unknown[])[]} | object[] | null} answer
 * @returns {object[]}
 */
export function rowsOf(answer) {
  const rows = (Array.isArray(answer) ? answer : answer?.alarms ?? []).map(asObject);
  return rows.sort((one, other) => rankOf(other) - rankOf(one) || sinceOf(other) - sinceOf(one));
}

function asObject(one) {
  if (!Array.isArray(one)) return one;
  return Object.fromEntries(EVENT_FIELDS.map((name, index) => [name, one[index]]));
}

function rankOf(one) {
  return isRaised(one) ? RANKS[one.severity] ?? 1 : 0;
}

/** Whether it stands: is there now, or keeps coming back. */
export function isRaised(one) {
  if (isFlapping(one)) return true;
  if (typeof one.is_raised === "boolean") return one.is_raised;
  if (typeof one.raised === "boolean") return one.raised;
  return one.state === "raised" || one.state === "acknowledged";
}

/** Whether it comes and goes too fast to be told each time. */
export function isFlapping(one) {
  return one.state === "flapping" || one.state === "acknowledged_flapping";
}

/** Whether somebody has seen to it. */
export function isAcknowledged(one) {
  return one.acknowledged_us != null || ["acknowledged", "acknowledged_flapping", "closed"].includes(one.state);
}

/** Whether somebody still has to see to it; also one that is over by itself. */
export function isOpen(one) {
  return one.id != null && !isAcknowledged(one);
}

/** When it began, or ended: Unix microseconds. */
export function sinceOf(one) {
  if (isRaised(one)) return one.raised_us ?? one.time_us ?? 0;
  return one.cleared_us ?? one.changed_us ?? one.time_us ?? 0;
}

/** @param {{alarm?: string, type?: string}} one */
export function nameOf(one) {
  return asWords(one.alarm ?? one.type ?? "alarm");
}

/** @param {string} severity */
export function toneOfSeverity(severity) {
  return TONES[severity] ?? "warn";
}
