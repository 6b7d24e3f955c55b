// Importing a manifest: choose or drop a file, check it, import it; and what was imported before.

import { useEffect, useRef, useState } from "preact/hooks";
import { useApp, useLoaded } from "../context.js";
import { asWords, formatBytes, formatNumber, plural } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { Ago, Badge, Button, Card, Link, PageHead } from "../ui/basics.jsx";
import { Icon } from "../ui/icons.jsx";
import { Empty, Failed, Loaded, Notice } from "../ui/states.jsx";
import { Progress } from "../ui/progress.jsx";

const EVERY_MS = 4000;
const ERRORS_SHOWN = 20;
const PAGE = 50;
const SHOWN_MAX = 1000;

export function ImportsPage() {
  return (
    <>
      <PageHead title="Imports" about="A manifest lists the devices on their poles. Each row gets a certificate, a thing, a policy and its groups." />
      <div class="stack">
        <Upload />
        <Jobs />
      </div>
    </>
  );
}

function Upload() {
  const [file, setFile] = useState(null);
  const [isOver, setOver] = useState(false);
  const input = useRef(null);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    const [dropped] = event.dataTransfer.files;
    if (dropped) setFile(dropped);
  };
  const leave = (event) => {
    if (!event.currentTarget.contains(event.relatedTarget)) setOver(false);
  };
  return (
    <Card title="Import a manifest">
      {file && <ChosenFile key={`${file.name}:${file.lastModified}`} file={file} onChange={() => setFile(null)} />}
      {!file && (
        <div class={`drop${isOver ? " is-over" : ""}`} onDragOver={(event) => { event.preventDefault(); setOver(true); }}
          onDragLeave={leave} onDrop={drop}>
          <Icon name="imports" size={30} />
          <p><b>Drop a file here</b>, or choose one.</p>
          <input ref={input} type="file" id="manifest" class="visually-hidden" aria-label="Manifest file" accept=".csv,.json,.ndjson,.jsonl,text/csv,application/json"
            onChange={(event) => setFile(event.currentTarget.files[0] ?? null)} />
          <Button icon="file" onClick={() => input.current.click()}>Choose a file</Button>
          <p class="hint">CSV, JSON or NDJSON, one device a row: endpoint, serial, model, tenant, site, position.</p>
        </div>
      )}
    </Card>
  );
}

/** One file: checked first, if the reader wants, then sent. */
function ChosenFile({ file, onChange }) {
  const { api, navigate } = useApp();
  const [state, setState] = useState({ step: "chosen" });
  const aborter = useRef(null);
  const run = async (step, path, options, done) => {
    aborter.current = new AbortController();
    setState({ step, sent: 0 });
    const onProgress = (sent, total) => setState((before) => ({ ...before, sent: total ? sent / total : 0 }));
    try {
      done(await api.upload(path, file, { ...options, onProgress, signal: aborter.current.signal }));
    } catch (problem) {
      setState(problem.name === "AbortError" ? { step: "chosen" } : { step: "chosen", problem });
    }
  };
  const check = () => run("checking", "/api/imports/check", {}, (result) => setState({ step: "checked", result }));
  const send = () => run("sending", "/api/provisioning/v1/imports",
    { headers: { "X-File-Name": encodeURIComponent(file.name) } },
    (job) => navigate(addressOf("import", job)));
  const isBusy = state.step === "checking" || state.step === "sending";
  return (
    <div class="stack">
      <p class="row between">
        <span class="row"><Icon name="file" /><b>{file.name}</b> <span class="muted">{formatBytes(file.size)}</span></span>
        {!isBusy && <Button tone="quiet" onClick={onChange}>Choose another</Button>}
      </p>
      {state.problem && <Failed problem={state.problem} />}
      {state.step === "checked" && <CheckResult result={state.result} />}
      {isBusy && (
        <div role="status" class="stack">
          <Progress label={state.step === "sending" ? "Sending" : "Checking"} done={state.sent} isWaiting={state.sent >= 1} />
          <p class="muted">{state.sent < 1 ? `Sending, ${Math.round(100 * state.sent)} %` : "Sent. The server reads it…"}</p>
        </div>
      )}
      <div class="row">
        {isBusy && <Button onClick={() => aborter.current.abort()}>Cancel</Button>}
        {!isBusy && <Button onClick={check} icon="check">{state.step === "checked" ? "Check again" : "Check only (dry run)"}</Button>}
        {!isBusy && <Button tone="primary" icon="imports" onClick={send} disabled={state.result?.is_whole === false}>{labelOf(state)}</Button>}
      </div>
    </div>
  );
}

function labelOf({ step, result }) {
  if (step !== "checked" || !result.is_whole) return "Import";
  return `Import ${plural(result.good, "device")}`;
}

function CheckResult({ result }) {
  const { rows, good, rejected, models, tenants, errors, is_whole, reason } = result;
  if (!is_whole) return <div role="alert"><Notice tone="bad" title="This file cannot be read as a manifest">{reason}</Notice></div>;
  const list = (counts) => Object.entries(counts ?? {}).map(([name, count]) => `${asWords(name)} ${formatNumber(count, 0)}`).join(" · ");
  return (
    <div class="stack" role="status">
      <Notice tone={rejected ? "warn" : "good"} title={rejected ? `${plural(good, "row")} of ${rows} can be imported` : `All ${plural(rows, "row")} can be imported`}>
        {list(models)}{tenants && <><br />{list(tenants)}</>}<br />Nothing was stored.
      </Notice>
      {errors?.length > 0 && <ErrorTable errors={errors.slice(0, ERRORS_SHOWN)} all={rejected} />}
    </div>
  );
}

/** @param {{errors: {row: number, endpoint?: string, field?: string, reason: string}[], all: number}} props */
export function ErrorTable({ errors, all }) {
  return (
    <div class="table-box">
      <table class="cards">
        <thead><tr><th scope="col" class="is-number">Row</th><th scope="col">Device</th><th scope="col">Field</th><th scope="col">What is wrong</th></tr></thead>
        <tbody>
          {errors.map((one) => (
            <tr key={`${one.row}:${one.field}`}>
              <td class="is-number" data-label="Row">{one.row}</td><td data-label="Device">{one.endpoint}</td>
              <td data-label="Field" class="mono">{one.field}</td><td data-label="What is wrong">{one.reason}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {all > errors.length && <p class="table-foot muted">The first {errors.length} of {formatNumber(all, 0)}.</p>}
    </div>
  );
}

const TONES = { running: "busy", finished: "good", failed: "bad" };

function Jobs() {
  const { api } = useApp();
  // The page that is asked for again and again grows: newer ones move all others down.
  const [shown, setShown] = useState(PAGE);
  const loaded = useLoaded((signal) => api.get(`/api/provisioning/v1/imports?limit=${shown}`, { signal }), [], EVERY_MS);
  useEffect(() => {
    if (shown > PAGE) loaded.again();
  }, [shown]);
  const hasOlder = loaded.data?.next_cursor != null && shown < SHOWN_MAX;
  return (
    <Card title="Earlier imports" class="flush">
      <Loaded from={loaded} rows={4} what="The imports">
        {({ imports }) => imports.length === 0 ? <Empty icon="imports" title="Nothing was imported yet">What is brought here, or to the API itself, is listed here with what became of it.</Empty> : (
          <div class="table-box">
            <table class="cards">
              <thead><tr><th scope="col">File</th><th scope="col">State</th><th scope="col" class="is-number">Rows</th><th scope="col" class="is-number">Accepted</th><th scope="col" class="is-number">Rejected</th><th scope="col">Started</th></tr></thead>
              <tbody>
                {imports.map((one) => (
                  <tr key={one.id}>
                    <td class="lead"><Link to={addressOf("import", one)}>{one.name || one.id}</Link>{one.started_by && <span class="sub">by {one.started_by}</span>}</td>
                    <td data-label="State"><Badge tone={TONES[one.state]}>{asWords(one.state)}</Badge></td>
                    <td data-label="Rows" class="is-number">{formatNumber(one.rows, 0)}</td>
                    <td data-label="Accepted" class="is-number">{formatNumber(one.created + one.updated + one.unchanged, 0)}</td>
                    <td data-label="Rejected" class="is-number">{formatNumber(one.rejected, 0)}</td>
                    <td data-label="Started" class="muted">{one.started_at_us > 0 && <Ago at={one.started_at_us} />}</td>
                  </tr>
                ))}
              </tbody>
            </table>
            {hasOlder && <div class="table-foot"><Button onClick={() => setShown(Math.min(SHOWN_MAX, shown + PAGE))}>Show older</Button></div>}
          </div>
        )}
      </Loaded>
    </Card>
  );
}
