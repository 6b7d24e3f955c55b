// Finding devices: by text, model, tenant, and by what the map shows.

import { useEffect, useRef, useState } from "preact/hooks";
import { useApp, useCity, useMay } from "../context.js";
import { STATES } from "../lib/fleet.js";
import { asWords, plural } from "../lib/format.js";
import { Button, Field, Select, StateMark } from "../ui/basics.jsx";
import { Icon } from "../ui/icons.jsx";
import { Empty, Failed, Loading } from "../ui/states.jsx";
import { GroupCommandDialog } from "./group_command_dialog.jsx";

const PAGE = 50;
const WAIT_MS = 220;

/** The search as the query of GET /api/devices. */
function queryOf(asked, box) {
  const query = new URLSearchParams();
  for (const name of ["text", "model", "tenant"]) if (asked[name]) query.set(name, asked[name]);
  if (asked.isInView && box) {
    query.set("box", [box.south, box.west, box.north, box.east].map((one) => one.toFixed(6)).join());
  }
  return query;
}

/** Results of a search, a page at a time; a search that is overtaken is dropped. */
function useSearch(asked, box) {
  const { api, city } = useApp();
  const [found, setFound] = useState({ devices: null, cursor: null, problem: null });
  const key = queryOf(asked, box).toString();
  const number = useRef(0);
  const pages = useRef(0);
  const load = async (cursor, before) => {
    number.current += 1;
    const mine = number.current;
    const query = new URLSearchParams(key);
    query.set("limit", PAGE);
    if (cursor) query.set("cursor", cursor);
    try {
      const page = await api.get(`/api/devices?${query}`);
      if (mine !== number.current) return;
      pages.current = before.length / PAGE + 1;
      setFound({ devices: [...before, ...page.devices], cursor: page.next_cursor, problem: null });
    } catch (problem) {
      if (mine === number.current) setFound((was) => ({ ...was, problem }));
    }
  };
  useEffect(() => {
    const timer = setTimeout(() => load(null, []), WAIT_MS);
    return () => clearTimeout(timer);
  }, [key]);
  // Devices came or went: the first page is asked for again, unless one has read on.
  useEffect(() => city.listen(({ isNew }) => {
    if (isNew && pages.current <= 1) load(null, []);
  }), [key]);
  return { ...found, key, more: () => load(found.cursor, found.devices), again: () => load(null, []) };
}

export function SearchPanel({ box, chosen, shown, onChoose }) {
  const { fleet } = useApp().city;
  const { models, tenants } = fleet.columns;
  const [asked, setAsked] = useState({ text: "", model: "", tenant: "", isInView: false });
  const [isSending, setSending] = useState(false);
  const mayGroup = useMay("issue_group_command");
  const search = useSearch(asked, box);
  const change = (field) => (value) => setAsked((before) => ({ ...before, [field]: value }));
  return (
    <>
      <form class="search" role="search" onSubmit={(event) => event.preventDefault()}>
        <div class="search-box">
          <Icon name="search" />
          <input type="search" aria-label="Search devices" placeholder="Name, serial, street…"
            value={asked.text} onInput={(event) => change("text")(event.currentTarget.value)} />
        </div>
        <div class="search-row">
          <Select aria-label="Model" value={asked.model} onChange={change("model")}
            options={[["", "All models"], ...models.map((one) => [one, asWords(one)])]} />
          {tenants.length > 1 && (
            <Select aria-label="Tenant" value={asked.tenant} onChange={change("tenant")}
              options={[["", "All tenants"], ...tenants.map((one) => [one, asWords(one)])]} />
          )}
        </div>
        <label class="check">
          <input type="checkbox" checked={asked.isInView}
            onChange={(event) => change("isInView")(event.currentTarget.checked)} />
          Only what the map shows
        </label>
      </form>
      <Results search={search} chosen={chosen} shown={shown} onChoose={onChoose} />
      {mayGroup && search.devices?.length > 0 && (
        <div class="search-foot">
          <Button icon="send" onClick={() => setSending(true)}>Send a command to these…</Button>
        </div>
      )}
      {isSending && (
        <GroupCommandDialog search={Object.fromEntries(new URLSearchParams(search.key))}
          onClose={() => setSending(false)} />
      )}
    </>
  );
}

function Results({ search, chosen, shown, onChoose }) {
  const { fleet } = useCity(1000);
  const { devices, cursor, problem } = search;
  if (problem) return <div class="results"><Failed problem={problem} again={search.again} /></div>;
  if (!devices) return <div class="results"><Loading rows={8} /></div>;
  if (!devices.length) {
    return (
      <div class="results">
        <Empty icon="search" title="No device is like that">
          Try fewer letters, another model, or search the whole city instead of this view.
        </Empty>
      </div>
    );
  }
  const rows = devices.map((device) => rowOf(fleet, device)).filter(({ state }) => shown[state]);
  const hidden = devices.length - rows.length;
  return (
    <div class="results">
      <p class="results-count" role="status">
        {cursor ? `First ${plural(devices.length, "device")}` : plural(devices.length, "device")}
        {hidden > 0 && `, ${hidden} not shown by their state`}
      </p>
      <ul>
        {rows.map(({ device, index, state }) => (
          <li key={device.endpoint}>
            <button type="button" aria-pressed={index !== null && device.endpoint === chosen}
              onClick={() => index !== null && onChoose(device.endpoint)}>
              <StateMark state={STATES[state]} isShort />
              <span class="result-text"><b>{device.endpoint}</b>
                <small>{asWords(device.model)}{device.street && ` · ${device.street}`}</small></span>
            </button>
          </li>
        ))}
      </ul>
      {cursor && <div class="row center"><Button onClick={search.more}>Show more</Button></div>}
    </div>
  );
}

/** Its live state where the map has it, else what the search said. */
function rowOf(fleet, device) {
  const index = fleet.indexes.get(device.endpoint) ?? null;
  const state = index === null ? Math.max(0, STATES.indexOf(device.presence)) : fleet.states[index];
  return { device, index, state };
}
