// What is around every page: menu, whose session it is, whether live data comes, messages.

import { useEffect, useRef, useState } from "preact/hooks";
import { useApp, useCity } from "../context.js";
import { menuOf } from "../lib/permissions.js";
import { addressOf } from "../lib/route.js";
import { Button, Link } from "./basics.jsx";
import { Icon } from "./icons.jsx";
import { ThemeSwitch } from "./theme_switch.jsx";
import { Toasts } from "./toasts.jsx";

const PART_OF = { device: "map", group: "groups", import: "imports" };

export function Shell({ children, toasts, drop }) {
  const { route } = useApp();
  const [isOpen, setOpen] = useState(false);
  const main = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => {
    setOpen(false);
    if (!isFirst.current) document.getElementById("page-heading")?.focus({ preventScroll: true });
    isFirst.current = false;
  }, [route.page, JSON.stringify(route.params)]);
  const skip = (event) => {
    event.preventDefault();
    main.current.focus();
  };
  return (
    <div class={`shell${route.page === "map" ? " has-map" : ""}`}>
      <a class="skip" href="#main" onClick={skip}>Skip to the page</a>
      <TopBar isOpen={isOpen} onMenu={() => setOpen(!isOpen)} />
      <Menu isOpen={isOpen} onClose={() => setOpen(false)} />
      <main id="main" ref={main} tabIndex={-1}>{children}</main>
      <Toasts toasts={toasts} drop={drop} />
    </div>
  );
}

function TopBar({ isOpen, onMenu }) {
  return (
    <header class="top-bar">
      <Button tone="quiet" icon={isOpen ? "close" : "menu"} aria-expanded={isOpen}
        aria-controls="menu" aria-label="Menu" onClick={onMenu} />
      <Link class="brand" to="/"><Brand /></Link>
      <LinkState />
    </header>
  );
}

export function Brand() {
  return (
    <>
      <svg class="brand-mark" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
        <rect width="32" height="32" rx="8" fill="var(--brand)" />
        <path d="M10 25h12M16 25V13" stroke="#fff" stroke-width="2.6" stroke-linecap="round" />
        <circle cx="16" cy="9.5" r="4" fill="#ffd166" />
      </svg>
      <span>Lamplighter</span>
    </>
  );
}

function Menu({ isOpen, onClose }) {
  const { session, route, api, leave, navigate, tell } = useApp();
  const current = PART_OF[route.page] ?? route.page;
  const signOut = async () => {
    try {
      await api.delete("/api/session");
      navigate("/", { replace: true });
      leave();
    } catch (problem) {
      if (problem.status !== 401) tell(problem.message, "bad");
    }
  };
  const onKey = (event) => {
    if (event.key === "Escape" && isOpen) onClose();
  };
  return (
    <div id="menu" class={`side${isOpen ? " is-open" : ""}`} onKeyDown={onKey}>
      <Link class="brand" to="/"><Brand /></Link>
      <nav aria-label="Pages">
        <ul>
          {menuOf(session).map(({ page, label }) => (
            <li key={page}>
              <Link to={addressOf(page)} aria-current={page === current ? "page" : undefined}>
                <Icon name={page} />{label}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
      <div class="side-foot">
        <LinkState />
        <ThemeSwitch />
        <Link class="who" to={addressOf("account")}
          aria-current={current === "account" ? "page" : undefined}>
          <Icon name="account" />
          <span class="who-text"><b>{session.name}</b><small>{rolesOf(session)}</small></span>
        </Link>
        <Button tone="quiet" icon="leave" onClick={signOut}>Sign out</Button>
      </div>
    </div>
  );
}

function rolesOf(session) {
  return [...new Set(session.grants.map(({ role }) => role))].join(", ");
}

/** Whether what is shown is live. */
function LinkState() {
  const city = useCity(500);
  if (city.link === "none") return null;
  const [tone, text] =
    city.link === "lost" ? ["bad", "Connection lost"]
    : city.link === "connecting" ? ["idle", "Connecting"]
    : city.telemetry === "lost" ? ["warn", "No live data"]
    : ["good", "Live"];
  return (
    <p class={`link-state ${tone}`} role="status"><span class="dot" aria-hidden="true" />{text}</p>
  );
}
