// A dialog: the browser's own, which keeps the focus inside and gives it back.

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "./basics.jsx";
import { Failed } from "./states.jsx";

/** @param {{title: string, onClose: () => void, isWide?: boolean}} props */
export function Dialog({ title, onClose, children, isWide = false }) {
  const element = useRef(null);
  const heading = useId();
  useLayoutEffect(() => {
    const opener = document.activeElement;
    const dialog = element.current;
    dialog.showModal();
    return () => {
      // While it is open, nothing behind it can have the focus.
      dialog.close();
      if (opener?.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog ref={element} class={isWide ? "wide" : ""} aria-labelledby={heading}
      onCancel={(event) => { event.preventDefault(); onClose(); }}>
      <header class="dialog-head">
        <h2 id={heading}>{title}</h2>
        <Button tone="quiet" icon="close" aria-label="Close" onClick={onClose} />
      </header>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

/** Asks before something that cannot be undone. @param {{onConfirm: () => Promise<void>}} props */
export function Confirm({ title, children, label, onConfirm, onClose, tone = "danger" }) {
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const confirm = async () => {
    setBusy(true);
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      {problem && <Failed problem={problem} />}
      <footer class="dialog-foot">
        <Button onClick={onClose}>Cancel</Button>
        <Button tone={tone} isBusy={isBusy} onClick={confirm}>{label}</Button>
      </footer>
    </Dialog>
  );
}
