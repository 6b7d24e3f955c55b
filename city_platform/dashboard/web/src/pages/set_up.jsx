// The links that work once: the first administrator's, and an invitation's.

import { useEffect, useState } from "preact/hooks";
import { useApp } from "../context.js";
import { Button, Field, Link } from "../ui/basics.jsx";
import { Brand } from "../ui/shell.jsx";
import { Notice } from "../ui/states.jsx";

/** The token leaves the address at once: it must not stay in the history. */
function useToken() {
  const [given] = useState(() => {
    const found = new URLSearchParams(location.hash.slice(1));
    return { setUp: found.get("token"), invitation: found.get("invitation") };
  });
  useEffect(() => history.replaceState(null, "", location.pathname), []);
  return given;
}

export function SetUpPage() {
  const { api } = useApp();
  const { setUp, invitation } = useToken();
  const [state, setState] = useState({ step: setUp || invitation ? "ask" : "no_token" });
  useEffect(() => {
    document.title = "Set up · Lamplighter";
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget);
    const password = given.get("password");
    if (password !== given.get("again")) {
      return setState({ step: "ask", wrong: "The two passwords differ." });
    }
    setState({ step: "ask", isBusy: true });
    try {
      if (setUp) {
        await api.post("/api/set-up", { token: setUp, username: given.get("username"), password },
          { isSignIn: true });
      } else {
        await api.post("/api/invitations", { token: invitation, password }, { isSignIn: true });
      }
      return setState({ step: "done" });
    } catch (problem) {
      return setState({ step: "ask", problem });
    }
  };
  return (
    <main class="alone">
      <form class="card sign-in" onSubmit={submit}>
        <p class="brand"><Brand /></p>
        <h1>{setUp ? "Set up this installation" : "Choose your password"}</h1>
        {state.step === "no_token" && <NoToken />}
        {state.step === "done" && <Done />}
        {state.step === "ask" && <Questions {...state} isFirst={Boolean(setUp)} />}
      </form>
    </main>
  );
}

function Questions({ isFirst, wrong, problem, isBusy }) {
  return (
    <>
      {isFirst && <p>You become the first administrator. You then invite the others.</p>}
      {problem && <div role="alert"><Notice tone="bad" title={problem.title}>{problem.detail}</Notice></div>}
      {isFirst && (
        <Field label="Name">
          {(field) => <input {...field} name="username" autocomplete="username" required autofocus />}
        </Field>
      )}
      <Field label="Password" hint="At least 12 characters. A few words are easier to keep in mind.">
        {(field) => (
          <input {...field} name="password" type="password" autocomplete="new-password" required
            minLength={12} />
        )}
      </Field>
      <Field label="The same again" wrong={wrong}>
        {(field) => (
          <input {...field} name="again" type="password" autocomplete="new-password" required />
        )}
      </Field>
      <Button type="submit" tone="primary" isBusy={isBusy}>Set password</Button>
    </>
  );
}

function NoToken() {
  return (
    <Notice tone="warn" title="This link is not complete">
      Open the link as it was printed at the first start, or as it was sent to you: what is behind
      the # belongs to it. It works once.
    </Notice>
  );
}

function Done() {
  return (
    <>
      <Notice tone="good" title="Your password is set" />
      <Link class="button primary" to="/">Go to sign in</Link>
    </>
  );
}
