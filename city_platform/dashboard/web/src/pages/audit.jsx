// Who did what, when, and how it ended.

import { useState } from "preact/hooks";
import { useApp, useLoaded } from "../context.js";
import { addressOf } from "../lib/route.js";
import { asWords } from "../lib/format.js";
import { Badge, Button, Card, Field, Link, PageHead, Select, Time } from "../ui/basics.jsx";
import { Empty, Failed, Loading } from "../ui/states.jsx";

const PAGE = 50;
const OUTCOMES = [["", "Any outcome"], "published", "succeeded", "refused", "denied", "failed", "expired", "unknown"];
const SINCE = [["", "Any time"], ["3600", "Last hour"], ["86400", "Last day"], ["604800", "Last week"]];
const TONES = { succeeded: "good", published: "busy", refused: "bad", denied: "bad", failed: "bad", expired: "warn", unknown: "warn" };
const TEXTS = [["device", "Device"], ["who", "Who"], ["operation", "Operation"], ["reference", "Reference"]];

export function AuditPage() {
  const { route, navigate } = useApp();
  const given = Object.fromEntries(new URLSearchParams(route.search));
  const [asked, setAsked] = useState(given);
  const change = (name) => (value) => setAsked((before) => ({ ...before, [name]: value }));
  const search = (event) => {
    event.preventDefault();
    navigate(addressOf("audit", {}, trimmed(asked)), { replace: true });
  };
  const choose = (name) => (value) => {
    const wanted = { ...asked, [name]: value };
    setAsked(wanted);
    navigate(addressOf("audit", {}, trimmed(wanted)), { replace: true });
  };
  return (
    <>
      <PageHead title="Audit" about="Every command, every provisioning and every sign-in. Nothing here can be changed." />
      <form class="filters" role="search" onSubmit={search}>
        {TEXTS.map(([name, label]) => (
          <Field key={name} label={label}>
            {(field) => <input {...field} value={asked[name] ?? ""} autocapitalize="none" spellcheck={false}
              onInput={(event) => change(name)(event.currentTarget.value)} />}
          </Field>
        ))}
        <Field label="Outcome">{(field) => <Select {...field} value={asked.outcome ?? ""} options={OUTCOMES} onChange={choose("outcome")} />}</Field>
        <Field label="When">{(field) => <Select {...field} value={asked.since ?? ""} options={SINCE} onChange={choose("since")} />}</Field>
        <Button type="submit" icon="search" tone="primary">Search</Button>
      </form>
      <Entries key={route.search} asked={given} />
    </>
  );
}

function trimmed(asked) {
  return Object.fromEntries(Object.entries(asked).map(([name, value]) => [name, value.trim()]));
}

function queryOf({ since, ...asked }, before) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
  if (since) query.set("from_us", Math.floor((Date.now() / 1000 - Number(since)) * 1e6));
  if (before) query.set("before", before);
  query.set("limit", PAGE);
  return query;
}

function Entries({ asked }) {
  const { api } = useApp();
  const load = (before, signal) => api.get(`/api/audit/v1/audit?${queryOf(asked, before)}`, { signal });
  const loaded = useLoaded((signal) => load(null, signal), []);
  const [problem, setProblem] = useState(null);
  const more = async () => {
    try {
      const page = await load(loaded.data.next_before);
      loaded.replace((before) => ({ entries: [...before.entries, ...page.entries], next_before: page.next_before }));
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  if (loaded.problem) return <Failed problem={loaded.problem} again={loaded.again} what="The audit log" />;
  return (
    <Card class="flush">
      {!loaded.data && <Loading rows={10} />}
      {loaded.data?.entries.length === 0 && <Empty icon="audit" title="Nothing in the log is like that">Search for less, or for a longer time.</Empty>}
      {loaded.data?.entries.length > 0 && <EntryTable entries={loaded.data.entries} />}
      {problem && <Failed problem={problem} again={more} />}
      {loaded.data?.next_before != null && <div class="table-foot"><Button onClick={more}>Show older</Button></div>}
    </Card>
  );
}

function EntryTable({ entries }) {
  return (
    <div class="table-box">
      <table class="cards">
        <thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">Device</th><th scope="col">Outcome</th><th scope="col">Detail</th></tr></thead>
        <tbody>
          {entries.map(({ sequence, entry, attributed_to, hash }) => (
            <tr key={sequence}>
              <td class="lead" title={`Entry ${sequence}, ${hash}`}><Time at={entry.at_us} /></td>
              <td data-label="Who">{attributed_to || entry.who || <span class="muted">nobody known</span>}<span class="sub">{entry.source}</span></td>
              <td data-label="What">{asWords(entry.operation)}</td>
              <td data-label="Device">{entry.device && <Link to={addressOf("device", { endpoint: entry.device })}>{entry.device}</Link>}</td>
              <td data-label="Outcome"><Badge tone={TONES[entry.outcome]}>{asWords(entry.outcome)}</Badge></td>
              <td data-label="Detail">{entry.detail}{entry.reference && <span class="sub mono">{entry.reference}</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
