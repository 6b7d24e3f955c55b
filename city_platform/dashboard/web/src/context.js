// What every page may use: the api, the session, the city, and how to tell the reader something.

import { createContext } from "preact";
import { useContext, useEffect, useReducer, useRef, useState } from "preact/hooks";
import { may } from "./lib/permissions.js";

export const AppContext = createContext(null);

/** @returns {{api: object, session: object, city: import("./net/city.js").City, tell: Function, announce: Function, navigate: Function, route: object}} */
export function useApp() {
  return useContext(AppContext);
}

/** @param {string} operation */
export function useMay(operation) {
  return may(useApp().session, operation);
}

/**
 * Draw again when the city changed, at most every `everyMs`.
 * @param {number} [everyMs]
 */
export function useCity(everyMs = 250) {
  const { city } = useApp();
  const [, redraw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    let timer = 0;
    const stop = city.listen(() => {
      timer ||= setTimeout(() => {
        timer = 0;
        redraw();
      }, everyMs);
    });
    redraw();
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [city, everyMs]);
  return city;
}

/**
 * Something loaded from the server: what there is, whether it is on its way, what went wrong.
 * Earlier data stays on the page while newer is on its way.
 * @param {(signal: AbortSignal) => Promise<unknown>} load
 * @param {unknown[]} dependencies
 * @param {number} [everyMs] load again this often; 0: never
 */
export function useLoaded(load, dependencies, everyMs = 0) {
  const [state, setState] = useState({ data: null, problem: null, isLoading: true });
  const [turn, again] = useReducer((count) => count + 1, 0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    setState((before) => ({ ...before, data: null, problem: null, isLoading: true }));
  }, dependencies);
  useEffect(() => {
    const aborter = new AbortController();
    setState((before) => ({ ...before, isLoading: true }));
    latest.current(aborter.signal).then(
      (data) => !aborter.signal.aborted && setState({ data, problem: null, isLoading: false }),
      (problem) =>
        !aborter.signal.aborted &&
        setState((before) => ({ ...before, problem, isLoading: false })),
    );
    const timer = everyMs ? setTimeout(again, everyMs) : 0;
    return () => {
      aborter.abort();
      clearTimeout(timer);
    };
  }, [...dependencies, turn, everyMs]);
  const replace = (change) => setState((before) => ({ ...before, data: change(before.data) }));
  return { ...state, again, replace };
}

/** Now, in Unix microseconds, moving every `everyMs`: for ages on the page. */
export function useNow(everyMs = 1000) {
  const [now, setNow] = useState(Date.now() * 1000);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() * 1000), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
