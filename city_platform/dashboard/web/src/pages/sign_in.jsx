// Signing in: with name and password, or at another issuer, whichever the installation has.

import { useEffect, useRef, useState } from "preact/hooks";
import { formatDuration } from "../lib/format.js";
import { Button, Field } from "../ui/basics.jsx";
import { Brand } from "../ui/shell.jsx";
import { Notice } from "../ui/states.jsx";

/** What the way over the issuer came to, by the word that the server puts into the address. */
const CAME_BACK = {
  denied: ["You were not signed in", "The sign-in was refused or given up where you were sent."],
  expired: ["The sign-in took too long", "Begin again: it has to end in the browser it began in."],
  forged: ["The sign-in did not fit", "What came back was not what was asked for. Begin again."],
  refused: ["You were not signed in", "The issuer's answer does not let you in here."],
  unavailable: ["The issuer cannot be reached", "Try again in a moment."],
};

export function SignInPage({ api, onSession, hasEnded }) {
  const [problem, setProblem] = useState(null);
  const [ways, setWays] = useState({ password: true, issuer: null });
  const [cameBack] = useState(takeCameBack);
  useEffect(() => {
    document.title = "Sign in · Lamplighter";
    api.get("/api/sign-in", { isSignIn: true }).then(setWays, () => {});
  }, []);
  return (
    <main class="alone">
      <div class="card sign-in">
        <p class="brand"><Brand /></p>
        <h1>Sign in</h1>
        {hasEnded && !problem && (
          <Notice title="Your session has ended">Sign in again to go on where you were.</Notice>
        )}
        {cameBack && !problem && (
          <div role="alert"><Notice tone="bad" title={cameBack[0]}>{cameBack[1]}</Notice></div>
        )}
        {problem && <SignInProblem problem={problem} />}
        {ways.issuer && (
          <a class="button primary" href={`${ways.issuer.start}?${new URLSearchParams({ to: location.pathname })}`}>
            Sign in with {ways.issuer.label}
          </a>
        )}
        {ways.issuer && ways.password && <p class="hint center">or with a password of this dashboard</p>}
        {ways.password && <PasswordForm api={api} onSession={onSession} onProblem={setProblem} />}
        <p class="hint">{ways.password ? "No account yet? An administrator of the installation invites you." : `Who may come in here is decided at ${ways.issuer?.label}.`}</p>
      </div>
    </main>
  );
}

/** Read once: going on, or loading again, shows it no more. */
function takeCameBack() {
  const query = new URLSearchParams(location.search);
  const found = CAME_BACK[query.get("sign-in")] ?? null;
  if (found) {
    query.delete("sign-in");
    history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : ""));
  }
  return found;
}

function PasswordForm({ api, onSession, onProblem }) {
  const [isBusy, setBusy] = useState(false);
  const name = useRef(null);
  useEffect(() => name.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget);
    setBusy(true);
    onProblem(null);
    const wanted = { username: given.get("username"), password: given.get("password") };
    try {
      onSession(await api.post("/api/session", wanted, { isSignIn: true }));
    } catch (error) {
      onProblem(error);
      setBusy(false);
      name.current?.focus();
    }
  };
  return (
    <form class="sign-in-form" onSubmit={submit}>
      <Field label="Name">
        {(field) => (
          <input {...field} ref={name} name="username" autocomplete="username" required
            autocapitalize="none" spellcheck={false} />
        )}
      </Field>
      <Field label="Password">
        {(field) => (
          <input {...field} name="password" type="password" autocomplete="current-password" required />
        )}
      </Field>
      <Button type="submit" tone="primary" isBusy={isBusy}>Sign in</Button>
    </form>
  );
}

function SignInProblem({ problem }) {
  const wait = problem.retryAfterS ? ` Try again in ${formatDuration(problem.retryAfterS)}.` : "";
  const title = problem.status === 401 ? "Name or password is wrong" : problem.title;
  const text = problem.status === 401 ? "" : problem.detail;
  return <div role="alert"><Notice tone="bad" title={title}>{text}{wait}</Notice></div>;
}
