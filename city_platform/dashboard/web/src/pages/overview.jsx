// How the city is right now: devices by state, what needs somebody, what the platform does.

import { useApp, useCity, useLoaded, useMay } from "../context.js";
import { toneOf } from "../lib/commands.js";
import { STATES } from "../lib/fleet.js";
import { asWords, formatNumber, plural } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { Ago, Badge, Card, Link, PageHead, StateMark } from "../ui/basics.jsx";
import { Empty, Failed, Loaded, Loading } from "../ui/states.jsx";

const ORDER = [2, 1, 3, 4, 0];
const LISTED_MAX = 6;

export function OverviewPage() {
  const hasMap = useMay("search_devices");
  const mayImport = useMay("import_manifest");
  const seesCommands = useMay("read_command");
  const seesComponents = useMay("view_components");
  return (
    <>
      <PageHead title="Overview" about="The city as it is now." />
      <div class="stack">
        {hasMap && <Fleet />}
        <div class="grid two">
          {hasMap && <Attention />}
          {seesCommands && <RecentCommands />}
          {mayImport && <RecentImports />}
          {seesComponents && <Components />}
        </div>
        {!hasMap && <AdministratorHint />}
      </div>
    </>
  );
}

function Fleet() {
  const city = useCity(400);
  const seesAlarms = useMay("read_alarms");
  if (city.state === "failed") return <Failed problem={city.problem} again={() => city.load()} what="The city" />;
  if (!city.fleet) return <Card class="fleet-card"><Loading rows={4} label="Loading devices" /></Card>;
  const { counts, count, columns } = city.fleet;
  if (count === 0) return <NoDevices />;
  const share = (state) => `${(100 * counts[state]) / count}%`;
  const models = countModels(city.fleet);
  return (
    <Card class="flush fleet-card">
      <dl class="stats">
        <div class="stat"><dt>Devices</dt><dd>{formatNumber(count, 0)}</dd></div>
        {ORDER.filter((state) => seesAlarms || state < STATES.indexOf("warning")).map((state) => (
          <div class="stat" key={state}><dt><StateMark state={STATES[state]} /></dt><dd>{formatNumber(counts[state], 0)}</dd></div>
        ))}
      </dl>
      <div class="bar-box">
        <div class="bar" aria-hidden="true">
          {ORDER.filter((state) => counts[state]).map((state) => (
            <span key={state} class={STATES[state]} ref={(one) => { if (one) one.style.width = share(state); }} />
          ))}
        </div>
        <p class="models"><span>{plural(columns.sites.length, "site")}</span>{models.map(([name, number]) => <span key={name}>{asWords(name)} <b class="number">{formatNumber(number, 0)}</b></span>)}</p>
      </div>
    </Card>
  );
}

function countModels({ columns }) {
  const counts = new Array(columns.models.length).fill(0);
  for (const model of columns.model) counts[model] += 1;
  return columns.models.map((name, index) => [name, counts[index]]).sort((one, other) => other[1] - one[1]);
}

function NoDevices() {
  const mayImport = useMay("import_manifest");
  return (
    <Card><Empty icon="map" title="There is no device yet">
      {mayImport ? <Link class="button primary" to={addressOf("imports")}>Import a manifest</Link>
        : "A provisioner imports the manifest of the devices on their poles."}
    </Empty></Card>
  );
}

function Attention() {
  const { fleet, state } = useCity(800);
  const seesAlarms = useMay("read_alarms");
  if (!fleet) return <Card title="Needs attention">{state === "failed" ? <Empty title="Not known" /> : <Loading rows={4} />}</Card>;
  const found = [];
  for (let wanted = 4; wanted >= 3 && found.length < LISTED_MAX; wanted -= 1) {
    for (let index = 0; index < fleet.count && found.length < LISTED_MAX; index += 1) {
      if (fleet.states[index] === wanted) found.push(fleet.at(index));
    }
  }
  const all = fleet.counts[3] + fleet.counts[4];
  // Without the right to read alarms nothing stands in the fleet: that is no all-clear.
  if (!seesAlarms) return <Card title="Needs attention"><Empty icon="alarms" title="Your role does not show alarms">An analyst sees them.</Empty></Card>;
  return (
    <Card title="Needs attention" actions={all > 0 && <AlarmsLink all={all} />}>
      {found.length === 0 && <Empty icon="check" title="No alarm stands">Nothing needs anybody now.</Empty>}
      <ul class="list">
        {found.map((one) => (
          <li key={one.endpoint}>
            <div><Link to={addressOf("device", one)}>{one.endpoint}</Link><span class="sub">{asWords(one.model)}{one.street && ` · ${one.street}`}</span></div>
            <StateMark state={one.state} />
          </li>
        ))}
      </ul>
    </Card>
  );
}

function AlarmsLink({ all }) {
  const seesAlarms = useMay("read_alarms");
  return seesAlarms ? <Link to={addressOf("alarms")}>All {formatNumber(all, 0)}</Link> : null;
}

function RecentCommands() {
  const { api } = useApp();
  const city = useCity(500);
  const loaded = useLoaded((signal) => api.get(`/api/control/v1/commands?limit=${LISTED_MAX}`, { signal }).catch(() => ({ commands: [] })), []);
  const known = new Map((loaded.data?.commands ?? []).map((one) => [one.id, one]));
  city.commands.forEach((one) => known.set(one.id, one));
  const rows = [...known.values()].sort((one, other) => other.issued_at_us - one.issued_at_us).slice(0, LISTED_MAX);
  return (
    <Card title="Recent commands">
      {rows.length === 0 && (loaded.isLoading ? <Loading rows={4} /> : <Empty icon="send" title="No command yet">Open a device to send it one.</Empty>)}
      <ul class="list">
        {rows.map((one) => (
          <li key={one.id}>
            <div><Link to={addressOf("device", one)}>{one.endpoint}</Link><span class="sub">{asWords(one.operation)} {one.path} · <Ago at={one.issued_at_us} /></span></div>
            <Badge tone={toneOf(one.state)}>{asWords(one.state)}</Badge>
          </li>
        ))}
      </ul>
    </Card>
  );
}

const IMPORT_TONES = { running: "busy", finished: "good", failed: "bad" };

function RecentImports() {
  const { api } = useApp();
  const loaded = useLoaded((signal) => api.get(`/api/provisioning/v1/imports?limit=${LISTED_MAX}`, { signal }), [], 10_000);
  return (
    <Card title="Imports" actions={<Link to={addressOf("imports")}>Import a manifest</Link>}>
      <Loaded from={loaded} rows={4} what="The imports">
        {({ imports }) => imports.length === 0 ? <Empty icon="imports" title="Nothing was imported yet" /> : (
          <ul class="list">
            {imports.map((one) => (
              <li key={one.id}>
                <div><Link to={addressOf("import", one)}>{one.name || one.id}</Link><span class="sub">{formatNumber(one.rows, 0)} rows · {one.started_at_us > 0 && <Ago at={one.started_at_us} />}</span></div>
                <Badge tone={IMPORT_TONES[one.state]}>{asWords(one.state)}</Badge>
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </Card>
  );
}

const COMPONENT_TONES = { ready: "good", not_ready: "warn", unreachable: "bad" };

function Components() {
  const { api } = useApp();
  const loaded = useLoaded((signal) => api.get("/api/components", { signal }), [], 10_000);
  return (
    <Card title="Platform">
      <Loaded from={loaded} rows={4} what="The components">
        {({ components }) => (
          <ul class="list">
            {components.map(({ name, state, detail }) => (
              <li key={name}><div>{asWords(name)}{detail && <span class="sub">{detail}</span>}</div><Badge tone={COMPONENT_TONES[state]}>{asWords(state)}</Badge></li>
            ))}
          </ul>
        )}
      </Loaded>
    </Card>
  );
}

function AdministratorHint() {
  const seesUsers = useMay("list_users");
  return (
    <Card><Empty icon="users" title="Your role does not show devices">
      {seesUsers ? <Link class="button" to={addressOf("users")}>Manage users</Link> : "Ask an administrator for a role that does."}
    </Empty></Card>
  );
}
