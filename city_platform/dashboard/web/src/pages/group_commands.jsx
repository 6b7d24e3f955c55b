// Group commands, newest first.

import { useState } from "preact/hooks";
import { useApp, useLoaded, useMay } from "../context.js";
import { FINAL, toneOf } from "../lib/commands.js";
import { asWords, formatNumber } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { Ago, Badge, Button, Card, Link, PageHead } from "../ui/basics.jsx";
import { Empty, Loaded } from "../ui/states.jsx";
import { Progress } from "../ui/progress.jsx";
import { GroupCommandDialog } from "./group_command_dialog.jsx";

const EVERY_MS = 3000;

export function GroupCommandsPage() {
  const { api, city } = useApp();
  const mayIssue = useMay("issue_group_command");
  const [isSending, setSending] = useState(false);
  const loaded = useLoaded((signal) => api.get("/api/control/v1/group-commands?limit=50", { signal }), [], EVERY_MS);
  return (
    <>
      <PageHead title="Group commands" about="One command to many devices, paced, with each device's outcome.">
        {mayIssue && city.fleet && <Button icon="send" tone="primary" onClick={() => setSending(true)}>New group command…</Button>}
      </PageHead>
      <Card class="flush">
        <Loaded from={loaded} rows={6} what="The group commands">
          {({ group_commands }) => group_commands.length === 0
            ? <Empty icon="groups" title="No group command yet">Search on the map, then send a command to what was found.</Empty>
            : <Table records={group_commands} />}
        </Loaded>
      </Card>
      {isSending && <GroupCommandDialog search={{}} onClose={() => setSending(false)} />}
    </>
  );
}

function Table({ records }) {
  return (
    <div class="table-box">
      <table class="cards">
        <thead><tr><th scope="col">Command</th><th scope="col">State</th><th scope="col" class="is-number">Devices</th><th scope="col">Outcomes</th><th scope="col">Sent</th></tr></thead>
        <tbody>
          {records.map((one) => (
            <tr key={one.id}>
              <td class="lead"><Link to={addressOf("group", one)}>{asWords(one.operation)} {one.path}</Link>{one.issued_by && <span class="sub">by {one.issued_by}</span>}</td>
              <td data-label="State"><Badge tone={one.state === "running" ? "busy" : "good"}>{asWords(one.state)}</Badge></td>
              <td data-label="Devices" class="is-number">{formatNumber(one.devices, 0)}</td>
              <td data-label="Outcomes" class="wide-cell"><GroupProgress record={one} /></td>
              <td data-label="Sent" class="muted"><Ago at={one.issued_at_us} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** How many have which outcome, as one bar. */
export function GroupProgress({ record }) {
  const all = Math.max(1, record.devices);
  const tones = {};
  for (const [state, count] of Object.entries(record.states)) {
    if (!FINAL.has(state)) continue;
    tones[toneOf(state)] = (tones[toneOf(state)] ?? 0) + count;
  }
  const ended = Object.values(tones).reduce((sum, one) => sum + one, 0);
  const parts = Object.entries(tones).map(([tone, count]) => [tone, count / all]);
  return <Progress label={`${ended} of ${record.devices} devices have an outcome`} done={ended / all} parts={parts} />;
}
