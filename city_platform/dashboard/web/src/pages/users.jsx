// People: who may do what, invitations, and letting somebody in again.

import { useState } from "preact/hooks";
import { useApp, useLoaded } from "../context.js";
import { asWords, formatTime } from "../lib/format.js";
import { Ago, Badge, Button, Card, Field, PageHead, Select } from "../ui/basics.jsx";
import { Confirm, Dialog } from "../ui/dialog.jsx";
import { Empty, Failed, Loaded, Notice } from "../ui/states.jsx";

const ROLES = ["provisioner", "analyst", "controller", "administrator"];
const PAGE = 100;

export function UsersPage() {
  const { api, session } = useApp();
  const loaded = useLoaded((signal) => api.get(`/api/identity/v1/users?limit=${PAGE}`, { signal }), []);
  const [isAdding, setAdding] = useState(false);
  return (
    <>
      <PageHead title="Users" about="Who may sign in, and what for.">
        {session.operations.includes("create_user") && <Button tone="primary" icon="plus" onClick={() => setAdding(true)}>Invite somebody…</Button>}
      </PageHead>
      <Card class="flush">
        <Loaded from={loaded} rows={6} what="The users">
          {({ users }) => users.length === 0 ? <Empty icon="users" title="Nobody yet" /> : <UserTable users={users} onChange={loaded.again} />}
        </Loaded>
      </Card>
      {isAdding && <NewUser onClose={() => setAdding(false)} onDone={loaded.again} />}
    </>
  );
}

function UserTable({ users, onChange }) {
  return (
    <div class="table-box">
      <table class="cards">
        <thead><tr><th scope="col">Name</th><th scope="col">Roles</th><th scope="col">State</th><th scope="col">Since</th><th scope="col"><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>
          {users.map((one) => (
            <tr key={one.username}>
              <td class="lead"><b>{one.username}</b></td>
              <td data-label="Roles">{one.grants.map(({ tenant, role }) => <span class="sub-line" key={`${tenant}${role}`}>{asWords(role)} <span class="muted">{tenantName(tenant)}</span></span>)}</td>
              <td data-label="State"><UserState user={one} /></td>
              <td data-label="Since" class="muted"><Ago at={one.created_at_us} /></td>
              <td class="actions"><Actions user={one} onChange={onChange} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function tenantName(tenant) {
  return !tenant || tenant === "*" ? "all tenants" : asWords(tenant);
}

function isLocked(user) {
  return user.locked_until_us > Date.now() * 1000;
}

function UserState({ user }) {
  if (isLocked(user)) return <Badge tone="warn">Locked until {formatTime(user.locked_until_us)}</Badge>;
  const tones = { enabled: "good", disabled: "idle", invited: "busy" };
  return <Badge tone={tones[user.state]}>{asWords(user.state)}</Badge>;
}

function Actions({ user, onChange }) {
  const { api, session, tell } = useApp();
  const [invitation, setInvitation] = useState(null);
  const [isDisabling, setDisabling] = useState(false);
  if (!session.operations.includes("change_user") || user.username === session.name) return null;
  const where = `/api/identity/v1/users/${encodeURIComponent(user.username)}`;
  const change = async (wanted, said) => {
    await api.patch(where, wanted);
    tell(said);
    onChange();
  };
  const attempt = (run) => run().catch((problem) => tell(problem.message, "bad"));
  const invite = async () => setInvitation(await api.post(`${where}/invitation`));
  const isDisabled = user.state === "disabled";
  return (
    <span class="row end">
      {isLocked(user) && <Button class="button small" onClick={() => attempt(() => change({ unlock: true }, `${user.username} may sign in again.`))}>Unlock</Button>}
      {isDisabled
        ? <Button class="button small" onClick={() => attempt(() => change({ state: "enabled" }, `${user.username} is enabled.`))}>Enable</Button>
        : <Button class="button small" onClick={() => setDisabling(true)}>Disable…</Button>}
      <Button class="button small" onClick={() => attempt(invite)}>New invitation</Button>
      {invitation && <InvitationDialog invitation={invitation} name={user.username} onClose={() => setInvitation(null)} />}
      {isDisabling && (
        <Confirm title={`Disable ${user.username}?`} label="Disable" onClose={() => setDisabling(false)} onConfirm={() => change({ state: "disabled" }, `${user.username} is disabled.`)}>
          <p>All sessions of {user.username} end. Nothing is deleted; enabling brings everything back.</p>
        </Confirm>
      )}
    </span>
  );
}

function NewUser({ onClose, onDone }) {
  const { api, session, city } = useApp();
  const known = session.tenants ?? city.fleet?.columns.tenants ?? [];
  const tenants = session.tenants === null ? [["*", "All tenants"], ...known.map((one) => [one, asWords(one)])] : known;
  const [asked, setAsked] = useState({ username: "", role: ROLES[1], tenant: session.tenants === null ? "*" : known[0] ?? "" });
  const [state, setState] = useState({});
  const change = (name) => (value) => setAsked((before) => ({ ...before, [name]: value }));
  const submit = async (event) => {
    event.preventDefault();
    setState({ isBusy: true });
    try {
      const { username, role, tenant } = asked;
      const invitation = await api.post("/api/identity/v1/users", { username: username.trim(), grants: [{ tenant, role }] });
      onDone();
      setState({ invitation });
    } catch (problem) {
      setState({ problem });
    }
  };
  if (state.invitation) return <InvitationDialog invitation={state.invitation} name={asked.username} onClose={onClose} />;
  return (
    <Dialog title="Invite somebody" onClose={onClose}>
      <form class="stack" onSubmit={submit}>
        <Field label="Name" hint="Letters, digits and . _ @ + -">{(field) => <input {...field} value={asked.username} required autocapitalize="none" spellcheck={false} onInput={(event) => change("username")(event.currentTarget.value)} />}</Field>
        <Field label="Role">{(field) => <Select {...field} value={asked.role} options={ROLES} onChange={change("role")} />}</Field>
        <Field label="Tenant">{(field) => <Select {...field} value={asked.tenant} options={tenants} onChange={change("tenant")} />}</Field>
        {state.problem && <Failed problem={state.problem} />}
        <footer class="dialog-foot"><Button onClick={onClose}>Cancel</Button><Button type="submit" tone="primary" isBusy={state.isBusy}>Invite</Button></footer>
      </form>
    </Dialog>
  );
}

/** The link is shown once: only who has it can choose the password. */
function InvitationDialog({ invitation, name, onClose }) {
  const { tell } = useApp();
  const link = linkOf(invitation);
  const copy = () => navigator.clipboard.writeText(link).then(() => tell("Copied."), () => tell("Select the link and copy it by hand.", "info"));
  return (
    <Dialog title={`Invitation for ${name}`} onClose={onClose}>
      <Notice title="Send this link to them">It works once, and is not shown again.</Notice>
      <input readOnly class="mono" aria-label="Invitation link" value={link} onFocus={(event) => event.currentTarget.select()} />
      <footer class="dialog-foot"><Button onClick={onClose}>Close</Button><Button tone="primary" onClick={copy}>Copy the link</Button></footer>
    </Dialog>
  );
}

/** Our own page with the token of the link: the issuer's address may be another one. */
function linkOf({ link }) {
  const hash = link.slice(link.indexOf("#") + 1);
  const given = new URLSearchParams(hash);
  const token = given.get("invitation") ?? given.get("token") ?? hash;
  return `${location.origin}/set-up#${new URLSearchParams({ invitation: token })}`;
}
