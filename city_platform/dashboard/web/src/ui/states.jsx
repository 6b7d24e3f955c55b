// What a page shows when it has nothing to show: loading, nothing there, went wrong.

import { Button } from "./basics.jsx";
import { Icon } from "./icons.jsx";

/** Grey lines in the place of what is coming, so that nothing jumps. */
export function Loading({ rows = 4, label = "Loading" }) {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">{label}</span>
      {Array.from({ length: rows }, (_, index) => <div key={index} class="bone" aria-hidden="true" />)}
    </div>
  );
}

export function Empty({ icon = "empty", title, children }) {
  return (
    <div class="empty">
      <Icon name={icon} size={28} />
      <p class="empty-title">{title}</p>
      {children && <div class="empty-text">{children}</div>}
    </div>
  );
}

/** What went wrong, what to do, and a button to do it. */
export function Failed({ problem, again, what = "This" }) {
  const isForbidden = problem.status === 403;
  return (
    <div class="notice bad" role="alert">
      <Icon name="alert" />
      <div>
        <p class="notice-title">{problem.title ?? `${what} could not be loaded`}</p>
        <p>{problem.detail || (isForbidden ? "Your role does not include this." : "")}</p>
      </div>
      {again && !isForbidden && <Button onClick={again} icon="again">Try again</Button>}
    </div>
  );
}

export function Notice({ tone = "info", title, children }) {
  return (
    <div class={`notice ${tone}`}>
      <Icon name={tone === "info" || tone === "good" ? "info" : "alert"} />
      <div>{title && <p class="notice-title">{title}</p>}{children && <div>{children}</div>}</div>
    </div>
  );
}

/** The state of one load: waiting, failed, or its content. */
export function Loaded({ from, rows, children, what }) {
  if (from.data !== null) {
    return (
      <>
        {from.problem && <Failed problem={from.problem} again={from.again} what={what} />}
        {children(from.data)}
      </>
    );
  }
  if (from.problem) return <Failed problem={from.problem} again={from.again} what={what} />;
  return <Loading rows={rows} />;
}
