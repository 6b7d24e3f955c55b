// The alarms of one device, those that stand first.

import { formatUnit, formatValue } from "../../lib/format.js";
import { Ago, Badge, Card } from "../../ui/basics.jsx";
import { Empty } from "../../ui/states.jsx";
import { Acknowledge } from "../alarm_actions.jsx";
import { isRaised, nameOf, rowsOf, sinceOf, toneOfSeverity } from "../../lib/alarms.js";

const SHOWN_MAX = 8;

export function AlarmsCard({ alarms, may, onChange }) {
  const rows = rowsOf(alarms).slice(0, SHOWN_MAX);
  return (
    <Card title="Alarms">
      {rows.length === 0 && <Empty icon="check" title="No alarm">Nothing was raised by this device.</Empty>}
      <ul class="list">
        {rows.map((one, index) => (
          <li key={one.id ?? `${one.path}:${one.time_us}:${index}`}>
            <div>
              <b>{nameOf(one)}</b>
              <span class="sub">
                {isRaised(one) ? "since " : "cleared "}<Ago at={sinceOf(one)} />
                {one.value != null && `, ${formatValue(one.value)} ${formatUnit(one.unit)}`}
              </span>
            </div>
            <div class="row">
              <Badge tone={isRaised(one) ? toneOfSeverity(one.severity) : "idle"}>
                {isRaised(one) ? one.severity : "cleared"}
              </Badge>
              {may.includes("acknowledge_alarm") && <Acknowledge alarm={one} onDone={onChange} />}
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}
