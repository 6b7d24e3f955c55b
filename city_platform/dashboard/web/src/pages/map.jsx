// The city: search on one side, the map on the other.

import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { useApp, useCity, useMay } from "../context.js";
import { STATES } from "../lib/fleet.js";
import { formatNumber } from "../lib/format.js";
import { MapView } from "../map/map_view.jsx";
import { StateMark } from "../ui/basics.jsx";
import { Empty, Failed, Loading } from "../ui/states.jsx";
import { DeviceCard } from "./map_device_card.jsx";
import { SearchPanel } from "./map_search.jsx";

export function MapPage() {
  const { city, route } = useApp();
  useCity(500);
  useEffect(() => {
    document.title = "Map · Lamplighter";
  }, []);
  if (city.state === "ready" && city.fleet) return <CityPage key={city.fleet.epoch} wanted={route.search} />;
  return (
    <div class="page-in">
      <h1 id="page-heading" tabIndex={-1}>Map</h1>
      {city.state === "failed" && <Failed problem={city.problem} again={() => city.load()} />}
      {city.state === "none" && <Empty title="Your role does not show devices" />}
      {city.state !== "failed" && city.state !== "none" && <Loading rows={6} />}
    </div>
  );
}

function CityPage({ wanted }) {
  const { city } = useApp();
  const named = new URLSearchParams(wanted).get("device");
  // By name: numbers of devices are others as soon as some come or go.
  const [chosen, setChosen] = useState(city.fleet.indexes.has(named) ? named : null);
  const [goTo, setGoTo] = useState(chosen === null ? null : { endpoint: chosen });
  const [box, setBox] = useState(null);
  const [shown, setShown] = useState(() => STATES.map(() => true));
  const choose = useCallback((endpoint) => {
    setChosen(endpoint);
    setGoTo({ endpoint });
  }, []);
  const pick = useCallback((endpoint) => {
    setGoTo(null);
    setChosen(endpoint);
  }, []);
  const index = city.fleet.indexes.get(chosen) ?? null;
  return (
    <div class="map-page">
      <aside class="map-side" aria-label="Search">
        <h1 id="page-heading" tabIndex={-1} class="map-heading">Map</h1>
        <SearchPanel box={box} chosen={chosen} shown={shown} onChoose={choose} />
      </aside>
      <section class="map-main" aria-label="Map of the city">
        {city.fleet.count === 0 ? (
          <Empty icon="map" title="No device is on the map yet">
            Import a manifest: each device appears here as soon as it is provisioned.
          </Empty>
        ) : (
          <MapView chosen={chosen} shown={shown} goTo={goTo} onPick={pick} onMove={setBox} />
        )}
        <Legend shown={shown} onChange={setShown} />
        {index !== null && <DeviceCard index={index} onClose={() => pick(null)} />}
      </section>
    </div>
  );
}

/** What the colours mean, how many there are, and which are drawn. */
function Legend({ shown, onChange }) {
  const { counts } = useCity(500).fleet;
  const seesAlarms = useMay("read_alarms");
  // Who may not read alarms is not told that there is none.
  const order = useMemo(() => (seesAlarms ? [4, 3, 2, 1, 0] : [2, 1, 0]), [seesAlarms]);
  const toggle = (state) => onChange(shown.map((is, index) => (index === state ? !is : is)));
  return (
    <div class="legend" role="group" aria-label="States shown on the map">
      {order.map((state) => (
        <button key={state} type="button" aria-pressed={shown[state]} onClick={() => toggle(state)}>
          <StateMark state={STATES[state]} />
          <span class="number">{formatNumber(counts[state], 0)}</span>
        </button>
      ))}
    </div>
  );
}
