// One's own account: roles, and another password.

import { useState } from "preact/hooks";
import { useApp } from "../context.js";
import { asWords, formatTime } from "../lib/format.js";
import { Button, Card, Facts, Field, PageHead } from "../ui/basics.jsx";
import { Failed } from "../ui/states.jsx";

export function AccountPage() {
  const { session } = useApp();
  return (
    <>
      <PageHead title="Account" />
      <div class="grid two">
        <Card title={session.name}>
          <div class="stack">
            <Facts rows={[["Session ends", formatTime(session.ends_at_us)]]} />
            <ul class="list">
              {session.grants.map(({ tenant, role }) => (
                <li key={`${tenant}:${role}`}><b>{asWords(role)}</b><span class="muted">{tenant && tenant !== "*" ? asWords(tenant) : "all tenants"}</span></li>
              ))}
            </ul>
          </div>
        </Card>
        <ChangePassword />
      </div>
    </>
  );
}

function ChangePassword() {
  const { api, leave, tell } = useApp();
  const [state, setState] = useState({});
  const submit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget);
    if (given.get("new_password") !== given.get("again")) return setState({ wrong: "The two passwords differ." });
    setState({ isBusy: true });
    try {
      await api.put("/api/identity/v1/me/password", { password: given.get("password"), new_password: given.get("new_password") }, { isSignIn: true });
      tell("Your password is changed. Sign in with the new one.");
      return leave();
    } catch (problem) {
      return setState({ problem: problem.status === 401 ? { title: "The present password is wrong", detail: "" } : problem });
    }
  };
  return (
    <Card title="Change your password">
      <form class="stack" onSubmit={submit}>
        <Field label="Present password">{(field) => <input {...field} name="password" type="password" autocomplete="current-password" required />}</Field>
        <Field label="New password" hint="At least 12 characters.">{(field) => <input {...field} name="new_password" type="password" autocomplete="new-password" required minLength={12} />}</Field>
        <Field label="The same again" wrong={state.wrong}>{(field) => <input {...field} name="again" type="password" autocomplete="new-password" required />}</Field>
        {state.problem && <Failed problem={state.problem} />}
        <p class="hint">All your sessions end. You then sign in again.</p>
        <Button type="submit" tone="primary" isBusy={state.isBusy}>Change password</Button>
      </form>
    </Card>
  );
}
