// Requests to our own server, and what went wrong with them, in one form.

/** What the server, or the way to it, answered instead of what was asked (RFC 9457). */
export class ApiError extends Error {
  /** @param {{status: number, title: string, detail?: string, retryAfterS?: number}} problem */
  constructor({ status, title, detail = "", retryAfterS = 0 }) {
    super(detail ? `${title}: ${detail}` : title);
    this.name = "ApiError";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.retryAfterS = retryAfterS;
  }
}

const SAFE = new Set(["GET", "HEAD"]);

/**
 * The one way to the server. `onSessionEnd` is called on each 401 but those of signing in.
 * @param {{fetch: typeof fetch, onSessionEnd: () => void}} parts
 */
export function createApi({ fetch, onSessionEnd }) {
  let csrf = "";

  async function ask(method, path, { json, headers = {}, signal, isSignIn = false } = {}) {
    const given = { Accept: "application/json", ...headers };
    if (json !== undefined) given["Content-Type"] = "application/json";
    if (!SAFE.has(method) && csrf) given["X-CSRF-Token"] = csrf;
    const body = json === undefined ? undefined : JSON.stringify(json);
    const answer = await reach(() => fetch(path, { method, headers: given, body, signal }));
    if (answer.ok) return answer.status === 204 ? null : answer.json();
    if (answer.status === 401 && !isSignIn) onSessionEnd();
    throw new ApiError(await readProblem(answer));
  }

  return {
    get: (path, options) => ask("GET", path, options),
    post: (path, json, options) => ask("POST", path, { ...options, json }),
    put: (path, json, options) => ask("PUT", path, { ...options, json }),
    patch: (path, json, options) => ask("PATCH", path, { ...options, json }),
    delete: (path, options) => ask("DELETE", path, options),
    /** @param {string} token the session's; every change has to carry it */
    useCsrf: (token) => {
      csrf = token;
    },
    upload: (path, file, options) => upload(path, file, { ...options, csrf, onSessionEnd }),
  };
}

async function reach(send) {
  try {
    return await send();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(UNREACHABLE);
  }
}

const UNREACHABLE = {
  status: 0,
  title: "The server cannot be reached",
  detail: "Check the connection to this address, then try again.",
};

async function readProblem(answer) {
  const found = await answer.json().catch(() => ({}));
  return {
    status: answer.status,
    title: found.title ?? `The server answered ${answer.status}`,
    detail: found.detail ?? "",
    retryAfterS: Number(answer.headers.get("Retry-After")) || 0,
  };
}

/**
 * Send a file and tell how much of it has gone: fetch cannot.
 * @returns {Promise<object>} the answer
 */
function upload(path, file, { csrf, onSessionEnd, onProgress, headers = {}, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "text";
    request.setRequestHeader("X-CSRF-Token", csrf);
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onProgress?.(loaded, total);
    request.onerror = () => reject(new ApiError(UNREACHABLE));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = () => {
      const found = parsed(request.responseText);
      if (request.status >= 200 && request.status < 300) return resolve(found);
      if (request.status === 401) onSessionEnd();
      const title = found.title ?? `The server answered ${request.status}`;
      return reject(new ApiError({ status: request.status, title, detail: found.detail }));
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
