// The chosen device, over the map.

import { useApp, useCity } from "../context.js";
import { asWords } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { Ago, Button, Link, StateMark } from "../ui/basics.jsx";

export function DeviceCard({ index, onClose }) {
  useCity(300);
  const { city } = useApp();
  const device = city.fleet.at(index);
  return (
    <article class="map-card" aria-label={`Device ${device.endpoint}`}>
      <header class="row between">
        <h2>{device.endpoint}</h2>
        <Button tone="quiet" icon="close" aria-label="Close" onClick={onClose} />
      </header>
      <p class="muted">{[asWords(device.model), device.street || asWords(device.site)].join(" · ")}</p>
      <p class="row between">
        <StateMark state={device.state} isHeard={device.at_us !== null} />
        <span class="muted">heard <Ago at={device.at_us} /></span>
      </p>
      <Link class="button primary" to={addressOf("device", { endpoint: device.endpoint })}>
        Open device
      </Link>
    </article>
  );
}
