// A resource over time: as a chart, or as a table of the same readings.

import { useEffect, useMemo, useState } from "preact/hooks";
import { useApp, useLoaded } from "../../context.js";
import { Chart } from "../../charts/chart.jsx";
import { formatValue } from "../../lib/format.js";
import { inModelUnit, readingPath } from "../../lib/values.js";
import { Card, Select, Time } from "../../ui/basics.jsx";
import { Empty, Failed, Loading } from "../../ui/states.jsx";

const RANGES = [["15 min", 900], ["1 h", 3600], ["24 h", 86_400], ["7 d", 604_800]];
const READINGS_MAX = 5000;
const TABLE_MAX = 200;

/** The resources that can be drawn: numbers and yes-or-no, measured ones first. */
function drawable(resources) {
  const found = resources.filter(({ value }) => typeof value === "number" || typeof value === "boolean");
  const rank = ({ object, unit }) => (object === "Device" || object?.startsWith("LwM2M") ? 2 : unit ? 0 : 1);
  return [...found].sort((one, other) => rank(one) - rank(other));
}

export function HistoryCard({ endpoint, resources }) {
  const choices = useMemo(() => drawable(resources), [resources.length]);
  const [path, setPath] = useState("");
  const [rangeS, setRange] = useState(3600);
  const [isTable, setTable] = useState(false);
  const chosen = choices.find((one) => one.path === path) ?? choices[0];
  if (!chosen) return null;
  const live = resources.find((one) => one.path === chosen.path);
  return (
    <Card title="History">
      <div class="chart-tools">
        <Select aria-label="Resource" value={chosen.path} onChange={setPath}
          options={choices.map((one) => [one.path, `${one.resource} · ${one.object}`])} />
        <div class="row">
          <div class="segments" role="group" aria-label="Time">
            {RANGES.map(([label, seconds]) => (
              <button key={label} type="button" aria-pressed={rangeS === seconds} onClick={() => setRange(seconds)}>{label}</button>
            ))}
          </div>
          <div class="segments" role="group" aria-label="Form">
            <button type="button" aria-pressed={!isTable} onClick={() => setTable(false)}>Chart</button>
            <button type="button" aria-pressed={isTable} onClick={() => setTable(true)}>Table</button>
          </div>
        </div>
      </div>
      <History key={`${chosen.path}:${rangeS}`} {...{ endpoint, chosen, live, rangeS, isTable }} />
    </Card>
  );
}

function History({ endpoint, chosen, live, rangeS, isTable }) {
  const { api } = useApp();
  const path = readingPath(chosen.path);
  const loaded = useLoaded((signal) => readingsOf(api, endpoint, path, rangeS, signal), [endpoint, path, rangeS]);
  const [points, setPoints] = useState([]);
  const unit = live?.shown == null ? chosen.reading_unit : chosen.unit;
  useEffect(() => {
    if (loaded.data) setPoints(loaded.data.map(([at, value]) => [at, asShown(value, chosen)]));
  }, [loaded.data]);
  useEffect(() => {
    const value = asNumber(live?.shown ?? live?.value);
    const at = (live?.at_us ?? 0) / 1e6;
    if (!loaded.data || value === null || !at) return;
    setPoints((before) => (before.length && before.at(-1)[0] >= at ? before : [...before, [at, value]]));
  }, [live?.at_us, live?.value, loaded.data]);
  const data = useMemo(() => [points.map(([at]) => at), points.map(([, value]) => value)], [points]);
  if (loaded.problem) return <Failed problem={loaded.problem} again={loaded.again} />;
  if (!loaded.data) return <div class="chart"><Loading rows={6} /></div>;
  if (!points.length) {
    return <div class="chart"><Empty title="No reading in this time">Choose a longer one, or another resource.</Empty></div>;
  }
  const end = Math.max(Date.now() / 1000, points.at(-1)[0]);
  if (isTable) return <ReadingTable points={points} unit={unit} isBoolean={typeof chosen.value === "boolean"} />;
  return (
    <Chart data={data} label={chosen.resource} unit={unit} range={[end - rangeS, end]}
      isStepped={typeof chosen.value === "boolean"} />
  );
}

/** Readings of a time, oldest first: [seconds, value]. */
async function readingsOf(api, endpoint, path, rangeS, signal) {
  const from = Math.floor((Date.now() / 1000 - rangeS) * 1e6);
  const ask = async (asked) => {
    const query = new URLSearchParams({ path: asked, from_us: from, limit: READINGS_MAX });
    const where = `/api/telemetry/v1/devices/${encodeURIComponent(endpoint)}/readings?${query}`;
    return (await api.get(where, { signal })).readings;
  };
  const found = await ask(path);
  const rows = found.length ? found : await ask(`/${path}`);
  return rows.map(([, , at, value]) => [at / 1e6, value]).reverse();
}

function asShown(value, resource) {
  const number = asNumber(value);
  if (number === null || typeof resource.shown !== "number") return number;
  if (resource.reading) return inModelUnit(number, resource.reading);
  if (resource.unit === "/100" && resource.reading_unit === "/") return Number((number * 100).toPrecision(12));
  const isKnown = typeof resource.value === "number" && resource.value !== 0;
  return isKnown ? Number(((number * resource.shown) / resource.value).toPrecision(10)) : number;
}

function asNumber(value) {
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "number" ? value : null;
}

function ReadingTable({ points, unit, isBoolean }) {
  const rows = points.slice(-TABLE_MAX).reverse();
  return (
    <div class="table-box scroll">
      <table>
        <thead><tr><th scope="col">Time</th><th scope="col" class="is-number">Value</th></tr></thead>
        <tbody>
          {rows.map(([at, value]) => (
            <tr key={at}><td><Time at={at * 1e6} /></td>
              <td class="is-number">{formatValue(isBoolean ? value === 1 : value, unit)}</td></tr>
          ))}
        </tbody>
      </table>
      {points.length > rows.length && <p class="hint">The newest {TABLE_MAX} of {points.length}.</p>}
    </div>
  );
}
