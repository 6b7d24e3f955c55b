// Small pieces that every page is made of.

import { useEffect, useId, useRef } from "preact/hooks";
import { useApp, useNow } from "../context.js";
import { asWords, formatAge, formatTime } from "../lib/format.js";
import { Icon } from "./icons.jsx";

/** A link inside the dashboard; with a modifier key it opens as any link does. */
export function Link({ to, children, ...rest }) {
  const { navigate } = useApp();
  const follow = (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey)
      return;
    event.preventDefault();
    navigate(to);
  };
  return <a href={to} onClick={follow} {...rest}>{children}</a>;
}

/** @param {{tone?: "plain" | "primary" | "danger" | "quiet", icon?: string, isBusy?: boolean}} props */
export function Button({ tone = "plain", icon, isBusy = false, children, ...rest }) {
  return (
    <button type="button" class={`button ${tone}`} aria-busy={isBusy} {...rest}
      disabled={rest.disabled || isBusy}>
      {isBusy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** The head of a page: focus goes here when the page changes. */
export function PageHead({ title, children, about, back }) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = `${title} · Lamplighter`;
  }, [title]);
  return (
    <header class="page-head">
      <div class="page-title">
        {back && <Link class="back" to={back.to}><Icon name="back" />{back.label}</Link>}
        <h1 ref={heading} tabIndex={-1} id="page-heading">{title}</h1>
        {about && <p class="about">{about}</p>}
      </div>
      {children && <div class="page-actions">{children}</div>}
    </header>
  );
}

export function Card({ title, actions, children, class: name = "", id }) {
  const made = useId();
  const heading = id ?? `card-${made}`;
  return (
    <section class={`card ${name}`} aria-labelledby={title ? heading : undefined}>
      {title && (
        <header class="card-head"><h2 id={heading}>{title}</h2>{actions}</header>
      )}
      {children}
    </section>
  );
}

const STATE_LABELS = {
  online: "Online", offline: "Offline", unknown: "Not heard yet", warning: "Warning", critical: "Critical",
};

/**
 * A device's state: a colour, an edge and a word.
 * @param {{state: string, isShort?: boolean, isHeard?: boolean}} props `isHeard`: values came from it
 */
export function StateMark({ state, isShort = false, isHeard = false }) {
  const label = state === "unknown" && isHeard ? "Connection not known" : STATE_LABELS[state];
  return (
    <span class={`state-mark ${state}`}>
      <span class="dot" aria-hidden="true" />
      <span class={isShort ? "visually-hidden" : ""}>{label ?? asWords(state)}</span>
    </span>
  );
}

export function Badge({ tone = "idle", children }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

/** When something was, in the reader's words; the exact time is its tooltip. */
export function Ago({ at }) {
  const now = useNow(1000);
  return <time class="nowrap" title={formatTime(at)}>{formatAge(at, now)}</time>;
}

export function Time({ at }) {
  return <time class="nowrap">{formatTime(at)}</time>;
}

/** Names and values. @param {{rows: [string, unknown][]}} props */
export function Facts({ rows }) {
  return (
    <dl class="facts">
      {rows.filter(([, value]) => value !== "" && value != null).map(([name, value]) => (
        <div key={name}><dt>{name}</dt><dd>{value}</dd></div>
      ))}
    </dl>
  );
}

/** A field with its label, hint and what is wrong with it. */
export function Field({ label, hint, wrong, children, isInline = false }) {
  const id = useId();
  const described = [hint && `${id}-hint`, wrong && `${id}-wrong`].filter(Boolean).join(" ");
  return (
    <div class={`field${isInline ? " inline" : ""}${wrong ? " is-wrong" : ""}`}>
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": described || undefined, "aria-invalid": Boolean(wrong) })}
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
      {wrong && <p class="wrong" id={`${id}-wrong`}>{wrong}</p>}
    </div>
  );
}

/** @param {{options: ([string, string] | string)[]}} props */
export function Select({ options, value, onChange, ...rest }) {
  return (
    <select {...rest} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      {options.map((option) => {
        const [key, text] = Array.isArray(option) ? option : [option, asWords(option)];
        return <option key={key} value={key}>{text}</option>;
      })}
    </select>
  );
}
