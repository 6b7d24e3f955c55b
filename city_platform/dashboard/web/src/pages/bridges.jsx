// The bridges: which are up, what each carries, and how fast.

import { useApp, useLoaded } from "../context.js";
import { asWords, formatNumber } from "../lib/format.js";
import { Ago, Badge, Card, Facts, PageHead } from "../ui/basics.jsx";
import { Empty, Loaded, Notice } from "../ui/states.jsx";

const EVERY_MS = 5000;
const TONES = { up: "good", live: "good", connecting: "warn", unknown: "warn", lost: "bad", down: "bad", stopped: "idle" };

export function BridgesPage() {
  const { api } = useApp();
  const loaded = useLoaded((signal) => api.get("/api/bridges", { signal }), [], EVERY_MS);
  return (
    <>
      <PageHead title="Bridges" about="Each carries the devices of one LwM2M server to the broker and back." />
      <Loaded from={loaded} rows={6} what="The bridges">
        {({ bridges }) => (
          <div class="grid two">
            {bridges.length === 0 && <Card><Empty icon="bridges" title="No bridge has announced itself">Start one: it appears here with its first connection to the broker.</Empty></Card>}
            {bridges.map((one) => <Bridge key={one.name} bridge={one} />)}
          </div>
        )}
      </Loaded>
    </>
  );
}

function Bridge({ bridge }) {
  const { name, standing, since_us, rates = {}, detail, devices_held, restarts } = bridge;
  const state = standing ?? bridge.state;
  const counts = { devices_held, restarts, ...bridge.counts };
  const isUp = state === "up" || state === "live";
  const busiest = Math.max(1, ...Object.values(rates));
  const numbers = Object.entries(counts).filter(([, value]) => typeof value === "number");
  return (
    <Card title={name} class="bridge" actions={<Badge tone={TONES[state] ?? "warn"}>{asWords(state)}</Badge>}>
      <div class="stack">
        <p class="muted">{isUp ? "came up " : "changed "}<Ago at={since_us} /></p>
        {detail && <Notice tone={isUp ? "info" : "bad"}>{detail}</Notice>}
        {Object.entries(rates).filter(([, rate]) => rate > 0).map(([what, rate]) => (
          <div key={what} class="meter">
            <p class="row between"><span>{asWords(what)}</span><b class="number">{formatNumber(rate, 1)}/s</b></p>
            <div class="progress" aria-hidden="true"><span ref={(one) => { if (one) one.style.width = `${(100 * rate) / busiest}%`; }} /></div>
          </div>
        ))}
        <Facts rows={numbers.map(([what, value]) => [asWords(what), formatNumber(value, 0)])} />
      </div>
    </Card>
  );
}
