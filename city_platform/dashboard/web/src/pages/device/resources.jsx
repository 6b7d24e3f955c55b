// The resources of a device by name, with unit and age; what has just arrived is marked.

import { useMemo, useState } from "preact/hooks";
import { formatValue } from "../../lib/format.js";
import { readingPath } from "../../lib/values.js";
import { Ago, Card } from "../../ui/basics.jsx";
import { Empty } from "../../ui/states.jsx";

const FILTER_FROM = 12;

export function ResourcesCard({ resources, fresh }) {
  const [text, setText] = useState("");
  const objects = useMemo(() => byObject(resources, text), [resources, text]);
  const search = resources.length >= FILTER_FROM && (
    <input type="search" class="small-search" aria-label="Filter values" placeholder="Filter…" value={text}
      onInput={(event) => setText(event.currentTarget.value)} />
  );
  return (
    <Card title="Values" class="flush" actions={search}>
      {resources.length === 0 && (
        <Empty title="Nothing was heard from it yet">
          Values appear here as soon as the device reports. If it is on its pole and has power, look at its
          certificate, and in the audit log for its registration.
        </Empty>
      )}
      {objects.length > 0 && (
        <div class="table-box">
          <table>
            <thead><tr><th scope="col">Resource</th><th scope="col" class="is-number">Value</th><th scope="col" class="hide-narrow">Heard</th></tr></thead>
            {objects.map(([name, rows]) => (
              <tbody key={name}>
                <tr class="object-name"><th scope="colgroup" colSpan={3}>{name}</th></tr>
                {rows.map((row) => <ResourceRow key={row.path} row={row} isFresh={isIn(fresh, row.path)} />)}
              </tbody>
            ))}
          </table>
        </div>
      )}
      {resources.length > 0 && objects.length === 0 && <Empty title="No resource is called that" />}
    </Card>
  );
}

function ResourceRow({ row, isFresh }) {
  const value = row.shown ?? row.value;
  const unit = row.shown == null ? row.reading_unit : row.unit;
  return (
    <tr>
      <td>{row.resource}<span class="sub mono">/{readingPath(row.path)}</span></td>
      <td class={`value ${typeof value === "string" ? "is-text" : "is-number"}`} data-path={readingPath(row.path)}>
        <span key={`${row.at_us}`} class={isFresh ? "is-new" : ""}>{formatValue(value, unit)}</span>
        <span class="sub only-narrow"><Ago at={row.at_us} /></span>
      </td>
      <td class="muted hide-narrow"><Ago at={row.at_us} /></td>
    </tr>
  );
}

function isIn(fresh, path) {
  return path in fresh || `/${path}` in fresh;
}

function byObject(resources, text) {
  const wanted = text.trim().toLowerCase();
  const isWanted = ({ resource, object, path }) =>
    `${object} ${resource} /${path}`.toLowerCase().includes(wanted);
  const instances = new Map();
  for (const { object, instance } of resources) {
    instances.set(object, (instances.get(object) ?? new Set()).add(instance));
  }
  const found = new Map();
  for (const one of resources.filter(isWanted)) {
    const name = instances.get(one.object).size > 1 ? `${one.object} ${one.instance}` : one.object;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(one);
  }
  return [...found];
}
