// Page addresses: a path to a page and its parameters, and back.

/** Patterns in order; `{name}` takes one level. */
const ROUTES = [
  ["overview", "/"],
  ["map", "/map"],
  ["device", "/devices/{endpoint}"],
  ["alarms", "/alarms"],
  ["groups", "/group-commands"],
  ["group", "/group-commands/{id}"],
  ["audit", "/audit"],
  ["bridges", "/bridges"],
  ["imports", "/imports"],
  ["import", "/imports/{id}"],
  ["users", "/users"],
  ["account", "/account"],
  ["set_up", "/set-up"],
];

/**
 * The page of an address; `missing` when there is none.
 * @param {string} pathname
 * @returns {{page: string, params: Record<string, string>}}
 */
export function readRoute(pathname) {
  const levels = pathname.replace(/\/+$/, "").split("/");
  for (const [page, pattern] of ROUTES) {
    const params = match(pattern.replace(/\/$/, "").split("/"), levels);
    if (params) return { page, params };
  }
  return { page: "missing", params: {} };
}

/**
 * The address of a page.
 * @param {string} page
 * @param {Record<string, string>} [params]
 * @param {Record<string, string>} [query] empty values are left out
 * @returns {string}
 */
export function addressOf(page, params = {}, query = {}) {
  const pattern = ROUTES.find(([name]) => name === page)[1];
  const path = pattern.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(params[name]));
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return given.size ? `${path}?${given}` : path;
}

function match(pattern, levels) {
  if (pattern.length !== levels.length) return null;
  const params = {};
  for (const [index, wanted] of pattern.entries()) {
    if (!wanted.startsWith("{")) {
      if (wanted !== levels[index]) return null;
    } else {
      const value = decoded(levels[index]);
      if (!value) return null;
      params[wanted.slice(1, -1)] = value;
    }
  }
  return params;
}

function decoded(level) {
  try {
    return decodeURIComponent(level);
  } catch {
    return "";
  }
}
