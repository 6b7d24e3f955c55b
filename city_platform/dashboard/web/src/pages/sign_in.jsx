// Signing in with name and password.

import { useEffect, useRef, useState } from "preact/hooks";
import { formatDuration } from "../lib/format.js";
import { Button, Field } from "../ui/basics.jsx";
import { Brand } from "../ui/shell.jsx";
import { Notice } from "../ui/states.jsx";

export function SignInPage({ api, onSession, hasEnded }) {
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const name = useRef(null);
  useEffect(() => {
    document.title = "Sign in · Lamplighter";
    name.current.focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget);
    setBusy(true);
    setProblem(null);
    const wanted = { username: given.get("username"), password: given.get("password") };
    try {
      onSession(await api.post("/api/session", wanted, { isSignIn: true }));
    } catch (error) {
      setProblem(error);
      setBusy(false);
      name.current?.focus();
    }
  };
  return (
    <main class="alone">
      <form class="card sign-in" onSubmit={submit}>
        <p class="brand"><Brand /></p>
        <h1>Sign in</h1>
        {hasEnded && !problem && (
          <Notice title="Your session has ended">Sign in again to go on where you were.</Notice>
        )}
        {problem && <SignInProblem problem={problem} />}
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
        <p class="hint">No account yet? An administrator of the installation invites you.</p>
      </form>
    </main>
  );
}

function SignInProblem({ problem }) {
  const wait = problem.retryAfterS ? ` Try again in ${formatDuration(problem.retryAfterS)}.` : "";
  const title = problem.status === 401 ? "Name or password is wrong" : problem.title;
  const text = problem.status === 401 ? "" : problem.detail;
  return <div role="alert"><Notice tone="bad" title={title}>{text}{wait}</Notice></div>;
}
