// One import as it goes on, and the rows that it refused.

import { useEffect } from "preact/hooks";
import { useApp, useLoaded } from "../context.js";
import { asWords, formatNumber, formatTime, plural } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { Badge, Card, Link, PageHead } from "../ui/basics.jsx";
import { Icon } from "../ui/icons.jsx";
import { Loaded, Notice } from "../ui/states.jsx";
import { Progress } from "../ui/progress.jsx";
import { ErrorTable } from "./imports.jsx";

const POLL_MS = 700;
const ERRORS_SHOWN = 50;
const TONES = { running: "busy", finished: "good", failed: "bad" };

export function ImportPage({ id }) {
  const { api, city, tell } = useApp();
  const where = `/api/provisioning/v1/imports/${encodeURIComponent(id)}`;
  const loaded = useLoaded((signal) => api.get(where, { signal }), [id]);
  const about = loaded.data;
  const state = loaded.data?.state;
  useEffect(() => {
    if (state !== "running") return undefined;
    const timer = setTimeout(loaded.again, POLL_MS);
    return () => clearTimeout(timer);
  }, [loaded.data]);
  useEffect(() => {
    if (state && state !== "running") city.load({ isFresh: true });
  }, [state]);
  return (
    <>
      <PageHead title={about?.name || "Import"} back={{ to: addressOf("imports"), label: "Imports" }}
        about={about?.started_by ? `Started by ${about.started_by}, ${formatTime(about.started_at_us)}` : undefined}>
        {state && <Badge tone={TONES[state]}>{asWords(state)}</Badge>}
      </PageHead>
      <div class="stack">
        <Card>
          <Loaded from={loaded} rows={4} what="This import">{(job) => <Job job={job} />}</Loaded>
        </Card>
        {loaded.data?.rejected > 0 && <Rejected id={id} job={loaded.data} where={where} tell={tell} />}
      </div>
    </>
  );
}

function Job({ job }) {
  const { state, rows, created, updated, unchanged, rejected, reason } = job;
  const all = Math.max(1, rows);
  const accepted = created + updated + unchanged;
  const said = {
    running: `Working: ${plural(rows, "row")} so far.`,
    finished: rejected ? `Finished: ${plural(accepted, "device")} provisioned, ${plural(rejected, "row")} refused.` : `Finished: ${plural(accepted, "device")} provisioned.`,
    failed: "The file as a whole could not be imported.",
  }[state];
  return (
    <div class="stack">
      <p role="status"><b>{said}</b></p>
      {state === "failed" && <Notice tone="bad" title="Why">{reason}</Notice>}
      <Progress label="Import" done={state === "running" ? 0 : 1} isWaiting={state === "running"}
        parts={state === "running" ? undefined : [["good", accepted / all], ["bad", rejected / all]]} />
      <dl class="counts">
        {[["Rows", rows], ["Created", created], ["Updated", updated], ["Unchanged", unchanged], ["Rejected", rejected]].map(([name, value]) => (
          <div key={name}><dt>{name}</dt><dd>{formatNumber(value, 0)}</dd></div>
        ))}
      </dl>
      {state === "finished" && accepted > 0 && <p><Link class="button" to={addressOf("map")}><Icon name="map" />Show on the map</Link></p>}
    </div>
  );
}

function Rejected({ id, job, where }) {
  const { api } = useApp();
  const loaded = useLoaded((signal) => api.get(`${where}/errors?limit=${ERRORS_SHOWN}`, { signal }), [id, job.state]);
  const download = (
    <a class="button small" href={`/api/imports/${encodeURIComponent(id)}/errors.csv`} download>
      <Icon name="download" />Download all as CSV
    </a>
  );
  return (
    <Card title="Refused rows" class="flush" actions={download}>
      <Loaded from={loaded} rows={5} what="The refused rows">
        {({ errors }) => <ErrorTable errors={errors} all={job.rejected} />}
      </Loaded>
    </Card>
  );
}
