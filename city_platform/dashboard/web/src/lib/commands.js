// How far commands have come, in words.

export const FINAL = new Set(["succeeded", "refused", "failed", "expired", "unknown", "cancelled"]);

const TONES = {
  queued: "idle", sent: "busy", delivered: "busy", succeeded: "good", refused: "bad",
  expired: "warn", unknown: "warn", cancelled: "idle",
};

/** @param {string} state */
export function toneOf(state) {
  return TONES[state] ?? "idle";
}

/**
 * What a command came to, as a sentence.
 * @param {object} record CommandRecord
 * @returns {string}
 */
export function outcomeText(record) {
  const { outcome, state } = record;
  if (outcome?.error) {
    const { stage, detail, reason, message } = outcome.error;
    return [stage && String(stage).replaceAll("_", " "), detail ?? reason ?? message]
      .filter(Boolean).join(": ");
  }
  if (outcome?.remark) return outcome.remark;
  if (state === "unknown") return "Nobody can know whether the device did it.";
  if (state === "expired") return "The device was not reached in time.";
  return record.detail ?? "";
}

/**
 * Newer records in place of older ones of the same id; new ones in front.
 * @param {object[]} records newest first
 * @param {object[]} news
 * @param {number} [most]
 */
export function mergeCommands(records, news, most = 50) {
  const byId = new Map(records.map((record) => [record.id, record]));
  for (const record of news) {
    const before = byId.get(record.id);
    if (before && FINAL.has(before.state) && !FINAL.has(record.state)) continue;
    byId.set(record.id, record);
  }
  return [...byId.values()]
    .sort((one, other) => other.issued_at_us - one.issued_at_us)
    .slice(0, most);
}
