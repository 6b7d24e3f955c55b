// The element that the map lives in.

import { useEffect, useRef, useState } from "preact/hooks";
import { useApp } from "../context.js";
import { STATES } from "../lib/fleet.js";
import { Button } from "../ui/basics.jsx";
import { CityMap } from "./city_map.js";

const ALL = STATES.map(() => true);
const ABOUT = "Map of the city's devices. The arrow keys move it, plus and minus change how near it is. "
  + "The list beside it has the same devices.";

/**
 * @param {{chosen: string | null, shown?: boolean[], onPick: Function, onMove: Function,
 *   goTo?: {endpoint: string} | null}} props `goTo`: a new object moves the map there
 */
export function MapView({ chosen, shown = ALL, onPick, onMove, goTo }) {
  const { city, api } = useApp();
  const element = useRef(null);
  const view = useRef(null);
  const [isDrawn, setDrawn] = useState(false);
  const [handlers] = useState({});
  Object.assign(handlers, { onPick, onMove });

  useEffect(() => {
    const map = new CityMap(element.current, {
      fleet: city.fleet,
      shown,
      onPick: (endpoint) => handlers.onPick(endpoint),
      onMove: (box) => handlers.onMove(box),
      onDrawn: () => {
        performance.mark("city-map-drawn");
        setDrawn(true);
      },
    });
    element.current.cityMap = view.current = map;
    const observer = new ResizeObserver(() => map.resize());
    observer.observe(element.current);
    const aborter = new AbortController();
    // What lies under the devices: nothing where none is configured, or when it cannot be had.
    api.get("/api/city", { signal: aborter.signal }).then((found) => (map.geography = found), () => {});
    const stop = city.listen(({ indexes, isNew }) => {
      if (isNew) map.replace(city.fleet);
      else if (indexes.length) map.update(indexes);
    });
    return () => {
      aborter.abort();
      stop();
      observer.disconnect();
      map.remove();
      view.current = null;
    };
  }, []);
  useEffect(() => {
    if (isDrawn) view.current?.show(shown);
  }, [shown]);
  useEffect(() => {
    view.current?.choose(chosen, { isMoving: chosen !== null && goTo?.endpoint === chosen });
  }, [chosen, goTo]);

  return (
    <div class="map-box">
      <div ref={element} class="map-canvas" data-drawn={isDrawn} tabIndex={0} role="application"
        aria-label={ABOUT} />
      {!isDrawn && <p class="map-wait" role="status">Drawing the map…</p>}
      <div class="map-tools" role="group" aria-label="Map">
        <Button icon="plus" aria-label="Zoom in" onClick={() => view.current?.zoom(1)} />
        <Button icon="minus" aria-label="Zoom out" onClick={() => view.current?.zoom(-1)} />
        <Button icon="fit" aria-label="Show the whole city" onClick={() => view.current?.fit()} />
      </div>
    </div>
  );
}
