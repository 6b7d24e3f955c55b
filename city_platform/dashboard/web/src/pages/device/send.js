// Sending one command, and what went wrong with it.

import { useState } from "preact/hooks";
import { useApp } from "../../context.js";
import { commandBody } from "../../lib/values.js";

/**
 * @param {string} endpoint
 * @param {(record: object) => void} onSent
 * @returns {{send: (wanted: object) => Promise<boolean>, isBusy: boolean, problem: object | null}}
 */
export function useSend(endpoint, onSent) {
  const { api, tell } = useApp();
  const [state, setState] = useState({ isBusy: false, problem: null });
  const send = async (wanted) => {
    setState({ isBusy: true, problem: null });
    try {
      const record = await api.post(
        `/api/control/v1/devices/${encodeURIComponent(endpoint)}/commands`,
        commandBody(wanted),
        { headers: { "Idempotency-Key": newKey() } },
      );
      onSent(record);
      tell("Command accepted. Its outcome appears under Commands.", "info");
      setState({ isBusy: false, problem: null });
      return true;
    } catch (problem) {
      setState({ isBusy: false, problem });
      return false;
    }
  };
  return { send, ...state };
}

/** A key that no other request has, so that a repeated one is not done twice. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
