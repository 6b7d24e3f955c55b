// One group command: how far it is, and each device's outcome.

import { useState } from "preact/hooks";
import { useApp, useLoaded, useMay } from "../context.js";
import { asWords, formatNumber } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { Badge, Button, Card, PageHead, Select } from "../ui/basics.jsx";
import { Confirm } from "../ui/dialog.jsx";
import { Empty, Loaded } from "../ui/states.jsx";
import { CommandTable } from "./device/commands.jsx";
import { GroupProgress } from "./group_commands.jsx";

const EVERY_MS = 1500;
const PAGE = 100;
const STATES = [["", "All outcomes"], "succeeded", "refused", "failed", "expired", "unknown", "cancelled", "queued", "sent", "delivered"];

export function GroupCommandPage({ id }) {
  const { api } = useApp();
  const where = `/api/control/v1/group-commands/${encodeURIComponent(id)}`;
  const mayCancel = useMay("cancel_group_command");
  const [isCancelling, setCancelling] = useState(false);
  const [hasEnded, setEnded] = useState(false);
  const loaded = useLoaded(async (signal) => {
    const record = await api.get(where, { signal });
    setEnded(record.state === "ended");
    return record;
  }, [id], hasEnded ? 0 : EVERY_MS);
  const record = loaded.data;
  const cancel = async () => {
    await api.post(`${where}/cancel`);
    loaded.again();
  };
  return (
    <>
      <PageHead title={record ? `${asWords(record.operation)} ${record.path}` : "Group command"} back={{ to: addressOf("groups"), label: "Group commands" }}>
        {record && <Badge tone={record.state === "running" ? "busy" : "good"}>{asWords(record.state)}</Badge>}
        {mayCancel && record?.state === "running" && !record.cancel_asked_at_us && <Button tone="danger" onClick={() => setCancelling(true)}>Cancel…</Button>}
      </PageHead>
      <div class="stack">
        <Card><Loaded from={loaded} rows={4} what="The group command">{(one) => <Standing record={one} />}</Loaded></Card>
        <Outcomes where={where} isRunning={mayCancel && record?.state === "running"} />
      </div>
      {isCancelling && (
        <Confirm title="Cancel this group command?" label="Cancel the rest" onConfirm={cancel} onClose={() => setCancelling(false)}>
          <p>Devices that had no turn yet do not get it. What has gone out may still be done.</p>
        </Confirm>
      )}
    </>
  );
}

function Standing({ record }) {
  const rows = [["Devices", record.devices], ["Waiting", record.waiting], ...Object.entries(record.states)];
  return (
    <div class="stack">
      <GroupProgress record={record} />
      <dl class="counts">
        {rows.map(([name, count]) => <div key={name}><dt>{asWords(name)}</dt><dd>{formatNumber(count, 0)}</dd></div>)}
      </dl>
      <p class="muted">{formatNumber(record.rate_per_s)} devices a second{record.issued_by && `, sent by ${record.issued_by}`}</p>
    </div>
  );
}

function Outcomes({ where, isRunning }) {
  const { api } = useApp();
  const [state, setState] = useState("");
  const load = (cursor, signal) => {
    const query = new URLSearchParams({ limit: PAGE, ...(state && { state }), ...(cursor && { cursor }) });
    return api.get(`${where}/commands?${query}`, { signal });
  };
  const [hasMore, setMore] = useState(false);
  const loaded = useLoaded((signal) => load(null, signal), [where, state], isRunning && !hasMore ? 3000 : 0);
  const more = async () => {
    setMore(true);
    const page = await load(loaded.data.next_cursor);
    loaded.replace((before) => ({ ...page, commands: [...before.commands, ...page.commands] }));
  };
  return (
    <Card title="Devices" class="flush" actions={<Select aria-label="Outcome" class="small-select" value={state} options={STATES} onChange={setState} />}>
      <Loaded from={loaded} rows={6} what="The outcomes">
        {({ commands, next_cursor }) => (
          <>
            {commands.length === 0 ? <Empty icon="groups" title="No device is in this state" /> : <CommandTable commands={commands} hasDevice />}
            {next_cursor && <div class="table-foot"><Button onClick={more}>Show more</Button></div>}
          </>
        )}
      </Loaded>
    </Card>
  );
}
