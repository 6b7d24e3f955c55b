// What the device was told, and what became of it.

import { useApp } from "../../context.js";
import { FINAL, outcomeText, toneOf } from "../../lib/commands.js";
import { asWords, formatValue } from "../../lib/format.js";
import { readingPath } from "../../lib/values.js";
import { Ago, Badge, Button, Card } from "../../ui/basics.jsx";
import { Empty } from "../../ui/states.jsx";

export function CommandsCard({ commands, may, onNews }) {
  return (
    <Card title="Commands" class="flush">
      {commands.length === 0 && <Empty icon="send" title="No command was sent to it">What you send appears here with its outcome.</Empty>}
      {commands.length > 0 && <CommandTable commands={commands} mayCancel={may.includes("cancel_command")} onNews={onNews} />}
    </Card>
  );
}

/** @param {{commands: object[], hasDevice?: boolean, mayCancel?: boolean, onNews?: Function}} props */
export function CommandTable({ commands, hasDevice = false, mayCancel = false, onNews }) {
  return (
    <div class="table-box" aria-live="polite" aria-relevant="text">
      <table class="cards">
        <thead>
          <tr>{hasDevice && <th scope="col">Device</th>}<th scope="col">Command</th><th scope="col">State</th><th scope="col">Outcome</th><th scope="col">Sent</th>
            {mayCancel && <th scope="col"><span class="visually-hidden">Actions</span></th>}</tr>
        </thead>
        <tbody>
          {commands.map((one) => <CommandRow key={one.id} {...{ one, hasDevice, mayCancel, onNews }} />)}
        </tbody>
      </table>
    </div>
  );
}

function CommandRow({ one, hasDevice, mayCancel, onNews }) {
  return (
    <tr>
      {hasDevice && <td class="lead">{one.endpoint}</td>}
      <td class="lead">{asWords(one.operation)} <span class="mono">{one.path || one.paths?.join(", ")}</span>
        {one.issued_by && <span class="sub">by {one.issued_by}</span>}</td>
      <td data-label="State"><Badge tone={toneOf(one.state)}>{asWords(one.state)}</Badge></td>
      <td data-label="Outcome"><Outcome record={one} /></td>
      <td data-label="Sent" class="muted"><Ago at={one.issued_at_us} /></td>
      {mayCancel && <td class="actions">{!FINAL.has(one.state) && <Cancel record={one} onNews={onNews} />}</td>}
    </tr>
  );
}

function Outcome({ record }) {
  const { outcome } = record;
  const text = outcomeText(record);
  const values = outcome?.values?.slice(0, 4) ?? [];
  return (
    <span>
      {outcome?.code && <span class="mono">{outcome.code} </span>}
      {text}
      {values.map(({ path, value }) => (
        <span class="sub" key={path}><span class="mono">/{readingPath(path)}</span> {formatValue(value)}</span>
      ))}
      {outcome?.values?.length > 4 && <span class="sub">and {outcome.values.length - 4} more</span>}
    </span>
  );
}

function Cancel({ record, onNews }) {
  const { api, tell } = useApp();
  const cancel = async () => {
    try {
      onNews(await api.post(`/api/control/v1/commands/${encodeURIComponent(record.id)}/cancel`));
    } catch (problem) {
      tell(problem.message, "bad");
    }
  };
  return <Button class="button small" disabled={Boolean(record.cancel_asked_at_us)} onClick={cancel}>Cancel</Button>;
}
