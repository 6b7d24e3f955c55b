// Alarms of the whole city: those that stand, the worst first.

import { useEffect, useState } from "preact/hooks";
import { useApp, useCity, useLoaded, useMay } from "../context.js";
import { isFlapping, isOpen, isRaised, nameOf, rowsOf, sinceOf, toneOfSeverity } from "../lib/alarms.js";
import { STATES } from "../lib/fleet.js";
import { asWords, formatValue } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { Ago, Badge, Card, Link, PageHead, Select, StateMark } from "../ui/basics.jsx";
import { Empty, Loaded } from "../ui/states.jsx";
import { Acknowledge } from "./alarm_actions.jsx";

const EVERY_MS = 5000;
const FILTERS = [["raised", "Standing"], ["open", "Not acknowledged"], ["", "All"]];
const SEVERITIES = [["", "Any severity"], "critical", "major", "minor"];
const SHOWN_MAX = 300;

export function AlarmsPage() {
  const hasList = useMay("list_alarms");
  const seesAlarms = useMay("read_alarms");
  return (
    <>
      <PageHead title="Alarms" about="What devices have raised. A standing alarm ends when the device clears it." />
      {hasList && <AlarmList />}
      {!hasList && seesAlarms && <DevicesWithAlarms />}
      {!hasList && !seesAlarms && <Card><Empty icon="alarms" title="Your role does not show alarms">An analyst sees them.</Empty></Card>}
    </>
  );
}

function AlarmList() {
  const { api } = useApp();
  const [show, setShow] = useState("raised");
  const [severity, setSeverity] = useState("");
  const loaded = useLoaded((signal) => api.get("/api/telemetry/v1/alarms?limit=500", { signal }), [], EVERY_MS);
  const isWanted = (one) =>
    (show === "" || (show === "open" ? isOpen(one) : isRaised(one))) &&
    (severity === "" || one.severity === severity);
  return (
    <>
      <div class="filters">
        <div class="segments" role="group" aria-label="Which">
          {FILTERS.map(([value, label]) => (
            <button key={label} type="button" aria-pressed={show === value} onClick={() => setShow(value)}>{label}</button>
          ))}
        </div>
        <div class="field"><Select aria-label="Severity" value={severity} options={SEVERITIES} onChange={setSeverity} /></div>
      </div>
      <Card class="flush">
        <Loaded from={loaded} rows={8} what="The alarms">
          {(answer) => <AlarmTable rows={rowsOf(answer).filter(isWanted)} onChange={loaded.again} />}
        </Loaded>
      </Card>
    </>
  );
}

function AlarmTable({ rows, onChange }) {
  const mayAcknowledge = useMay("acknowledge_alarm");
  if (!rows.length) return <Empty icon="check" title="No alarm stands">Nothing needs anybody now.</Empty>;
  return (
    <div class="table-box">
      <table class="cards">
        <thead><tr><th scope="col">Alarm</th><th scope="col">Device</th><th scope="col">State</th><th scope="col">Value</th><th scope="col">Since</th><th scope="col"><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>
          {rows.slice(0, SHOWN_MAX).map((one, index) => (
            <tr key={one.id ?? `${one.endpoint}${one.path}${one.alarm}${index}`}>
              <td class="lead"><Badge tone={isRaised(one) ? toneOfSeverity(one.severity) : "idle"}>{asWords(one.severity)}</Badge> <b>{nameOf(one)}</b></td>
              <td data-label="Device"><Link to={addressOf("device", { endpoint: one.endpoint })}>{one.endpoint}</Link></td>
              <td data-label="State">{isRaised(one) ? (isFlapping(one) ? "Flapping" : "Standing") : "Cleared"}{one.raises > 1 && <span class="sub">raised {one.raises} times</span>}</td>
              <td data-label="Value">{one.value == null ? "" : <>{formatValue(one.value)}{one.threshold != null && <span class="sub">limit {formatValue(one.threshold)}</span>}</>}</td>
              <td data-label="Since"><Ago at={sinceOf(one)} /></td>
              <td class="actions">{mayAcknowledge && <Acknowledge alarm={one} onDone={onChange} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > SHOWN_MAX && <p class="table-foot muted">The first {SHOWN_MAX} of {rows.length}. Narrow them by severity.</p>}
    </div>
  );
}

/** Where the installation has no list of all alarms: the devices that have one, from the map. */
function DevicesWithAlarms() {
  const city = useCity(1000);
  const [, redraw] = useState(0);
  useEffect(() => redraw(1), [city.version]);
  if (!city.fleet) return <Card><Loaded from={{ data: null, problem: city.problem, again: () => city.load() }} rows={6} /></Card>;
  const indexes = [];
  city.fleet.states.forEach((state, index) => state >= STATES.indexOf("warning") && indexes.push(index));
  indexes.sort((one, other) => city.fleet.states[other] - city.fleet.states[one]);
  const rows = indexes.slice(0, SHOWN_MAX).map((index) => city.fleet.at(index));
  return (
    <Card class="flush">
      {rows.length === 0 && <Empty icon="check" title="No alarm stands">Nothing needs anybody now.</Empty>}
      {rows.length > 0 && (
        <div class="table-box"><table class="cards">
          <thead><tr><th scope="col">Device</th><th scope="col">State</th><th scope="col">Model</th><th scope="col">Where</th><th scope="col">Heard</th></tr></thead>
          <tbody>{rows.map((one) => (
            <tr key={one.endpoint}>
              <td class="lead"><Link to={addressOf("device", one)}>{one.endpoint}</Link></td>
              <td data-label="State"><StateMark state={one.state} /></td>
              <td data-label="Model">{asWords(one.model)}</td>
              <td data-label="Where">{one.street || asWords(one.site)}</td>
              <td data-label="Heard"><Ago at={one.at_us} /></td>
            </tr>))}
          </tbody>
        </table></div>
      )}
    </Card>
  );
}
