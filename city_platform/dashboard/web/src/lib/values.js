// Values that a person types, as the typed values of a command; and the other way about.

const INTEGER = /^-?\d{1,20}$/;

/** What is wrong with an entry, for the field's message. */
export class WrongValue extends Error {}

/**
 * A path with its leading slash, as commands have it.
 * @param {string} path
 */
export function commandPath(path) {
  return path.startsWith("/") ? path : `/${path}`;
}

/**
 * A path without its leading slash, as readings have it.
 * @param {string} path
 */
export function readingPath(path) {
  return path.replace(/^\/+/, "");
}

/**
 * The value of a resource out of what was typed.
 * @param {string} type of the object model
 * @param {string | boolean} text
 * @param {string | null} [range] such as `0..100`
 * @returns {string | number | boolean}
 * @throws {WrongValue}
 */
export function parseValue(type, text, range = null) {
  if (type === "boolean") return text === true || text === "true";
  if (type === "integer" || type === "unsigned" || type === "time") {
    return parseInteger(type, String(text).trim(), range);
  }
  if (type === "float") {
    const number = Number(String(text).trim().replace(",", "."));
    if (!String(text).trim() || !Number.isFinite(number)) throw new WrongValue("Enter a number.");
    checkRange(number, range);
    return number;
  }
  return String(text);
}

function parseInteger(type, text, range) {
  if (!INTEGER.test(text)) throw new WrongValue("Enter a whole number.");
  if (type === "unsigned" && text.startsWith("-")) throw new WrongValue("Enter 0 or more.");
  const number = Number(text);
  checkRange(number, range);
  return Number.isSafeInteger(number) ? number : text;
}

/**
 * The two ends of a range such as `0..100`; null when it is none of two numbers.
 * @param {string | null | undefined} range
 * @returns {[number, number] | null}
 */
export function readRange(range) {
  const found = /^\s*(-?[\d.]+)\s*\.\.\s*(-?[\d.]+)\s*$/.exec(range ?? "");
  if (!found) return null;
  const [low, high] = [Number(found[1]), Number(found[2])];
  return Number.isFinite(low) && Number.isFinite(high) && low < high ? [low, high] : null;
}

function checkRange(number, range) {
  const ends = readRange(range);
  if (ends && (number < ends[0] || number > ends[1])) {
    throw new WrongValue(`Enter ${ends[0]} to ${ends[1]}.`);
  }
}

/**
 * A reading in the object model's own unit: what the device page and the charts show.
 * @param {unknown} value as it was stored
 * @param {{factor?: number, offset?: number} | null | undefined} reading of the model
 */
export function inModelUnit(value, reading) {
  if (typeof value !== "number" || !reading) return value;
  const shown = (value - (reading.offset ?? 0)) / (reading.factor || 1);
  return Number(shown.toPrecision(12));
}

/**
 * The body of a command.
 * @param {{operation: string, path: string, type?: string, value?: unknown, args?: string, expires_in_s?: number}} wanted
 */
export function commandBody({ operation, path, type, value, args, expires_in_s = 60 }) {
  const whole = commandPath(path);
  const body = { operation, path: whole, expires_in_s };
  if (operation === "write") {
    body.mode = "update";
    body.values = [{ path: whole, type, value }];
  }
  if (operation === "execute" && args) body.arguments = args;
  return body;
}

/**
 * The resource that dims a device, of those that may be written; null when it has none.
 * @param {{path: string, object?: string, resource?: string}[]} writable
 */
export function dimmerOf(writable) {
  const lamp = writable.find(({ path }) => /^\/?3416\/\d+\/1$/.test(path));
  return lamp ?? writable.find(({ path }) => /^\/?3311\/\d+\/5851$/.test(path)) ?? null;
}
