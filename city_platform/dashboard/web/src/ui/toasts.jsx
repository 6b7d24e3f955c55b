// Short messages at the edge of the page, and what a screen reader hears of changes.

import { useCallback, useRef, useState } from "preact/hooks";
import { Button } from "./basics.jsx";

const SHOWN_MS = 6000;
const SHOWN_MAX = 3;

/** @returns {{toasts: object[], tell: (text: string, tone?: string) => void, drop: (id: number) => void}} */
export function useToasts() {
  const [toasts, setToasts] = useState([]);
  const number = useRef(0);
  const drop = useCallback((id) => setToasts((all) => all.filter((one) => one.id !== id)), []);
  const tell = useCallback((text, tone = "good") => {
    number.current += 1;
    const id = number.current;
    setToasts((all) => [...all, { id, text, tone }].slice(-SHOWN_MAX));
    setTimeout(() => drop(id), SHOWN_MS);
  }, []);
  return { toasts, tell, drop };
}

export function Toasts({ toasts, drop }) {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.map(({ id, text, tone }) => (
        <div key={id} class={`toast ${tone}`}>
          <p>{text}</p>
          <Button tone="quiet" icon="close" aria-label="Dismiss" onClick={() => drop(id)} />
        </div>
      ))}
    </div>
  );
}
