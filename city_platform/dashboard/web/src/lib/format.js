// How numbers, times and units are shown. Pure: what depends on "now" takes it as an argument.

const US_PER_S = 1_000_000;

/** What people read instead of a registry's unit. */
const SHOWN_UNITS = {
  "/100": "%", "/": "", Cel: "°C", m3: "m³", "m3/s": "m³/s", deg: "°", lat: "°", lon: "°",
  "S/m": "S/m", "mg/l": "mg/l", "kg/m3": "kg/m³",
};

/**
 * A number with at most `digits` digits behind the point and a thin space between thousands.
 * @param {number} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatNumber(value, digits = 2) {
  if (!Number.isFinite(value)) return "–";
  if (value !== 0 && Math.abs(value) < 10 ** -digits) return value.toPrecision(2);
  const [whole, rest] = String(Number(Math.abs(value).toFixed(digits))).split(".");
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
  return `${value < 0 ? "−" : ""}${grouped}${rest ? `.${rest}` : ""}`;
}

/**
 * The unit as a person writes it; nothing for a unit of one.
 * @param {string | null | undefined} unit
 * @returns {string}
 */
export function formatUnit(unit) {
  if (!unit) return "";
  return SHOWN_UNITS[unit] ?? unit;
}

/**
 * A value of a resource, with its unit.
 * @param {unknown} value
 * @param {string | null} [unit]
 * @returns {string}
 */
export function formatValue(value, unit = null) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    const shown = formatUnit(unit);
    return shown ? `${formatNumber(value)}\u00a0${shown}` : formatNumber(value);
  }
  return String(value);
}

/**
 * How long ago, in the largest whole unit: "just now", "12 s ago", "3 h ago".
 * @param {number | null | undefined} atUs Unix microseconds
 * @param {number} nowUs Unix microseconds
 * @returns {string}
 */
export function formatAge(atUs, nowUs) {
  if (!atUs) return "never";
  const ageS = (nowUs - atUs) / US_PER_S;
  if (ageS < -5) return `in ${formatDuration(-ageS)}`;
  if (ageS < 2) return "just now";
  return `${formatDuration(ageS)} ago`;
}

/**
 * A duration in its largest whole unit.
 * @param {number} seconds
 * @returns {string}
 */
export function formatDuration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400 * 2) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/**
 * Date and time of day in the reader's zone: 2026-11-21 18:33:26.
 * @param {number | null | undefined} atUs Unix microseconds
 * @returns {string}
 */
export function formatTime(atUs) {
  if (!atUs) return "–";
  const at = new Date(atUs / 1000);
  const two = (number) => String(number).padStart(2, "0");
  return (
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
  );
}

/**
 * A count of bytes: 12 B, 3.4 KB, 1.2 MB.
 * @param {number} bytes
 * @returns {string}
 */
export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${formatNumber(bytes / 1000, 1)} KB`;
  return `${formatNumber(bytes / 1_000_000, 1)} MB`;
}

/**
 * A name such as `street_lamp` as words.
 * @param {string} name
 * @returns {string}
 */
export function asWords(name) {
  const words = String(name).replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * "1 device", "2 devices".
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 * @returns {string}
 */
export function plural(count, one, many = `${one}s`) {
  return `${formatNumber(count, 0)} ${count === 1 ? one : many}`;
}
