// The element that the map lives in. MapLibre is loaded when a map is first shown.

import { useEffect, useRef, useState } from "preact/hooks";
import { useApp } from "../context.js";
import { STATES } from "../lib/fleet.js";
import { Button } from "../ui/basics.jsx";
import { Failed } from "../ui/states.jsx";
import { loadMap } from "./preload.js";

const ALL = STATES.map(() => true);

/**
 * @param {{chosen: number | null, shown?: boolean[], onPick: Function, onMove: Function,
 *   goTo?: {index: number} | null}} props `goTo`: a new object moves the map there
 */
export function MapView({ chosen, shown = ALL, onPick, onMove, goTo }) {
  const { city, api } = useApp();
  const element = useRef(null);
  const view = useRef(null);
  const [state, setState] = useState({ isDrawn: false, problem: null });
  const [handlers] = useState({});
  Object.assign(handlers, { onPick, onMove });

  useEffect(() => {
    let isGone = false;
    let stop = () => {};
    const observer = new ResizeObserver(() => view.current?.resize());
    Promise.all([loadMap(), geographyOf(api)]).then(([{ CityMap }, geography]) => {
      if (isGone) return;
      view.current = new CityMap(element.current, {
        fleet: city.fleet,
        geography,
        onPick: (index) => handlers.onPick(index),
        onMove: (box) => handlers.onMove(box),
        onDrawn: () => {
          performance.mark("city-map-drawn");
          setState({ isDrawn: true, problem: null });
        },
      });
      element.current.cityMap = view.current;
      observer.observe(element.current);
      stop = city.listen(({ indexes, isNew }) => {
        if (isNew) view.current.replace(city.fleet);
        else if (indexes.length) view.current.update(indexes);
      });
    }).catch((error) => !isGone && setState({ isDrawn: true, problem: asProblem(error) }));
    return () => {
      isGone = true;
      stop();
      observer.disconnect();
      view.current?.remove();
      view.current = null;
    };
  }, []);
  useEffect(() => {
    if (state.isDrawn) view.current?.show(shown);
  }, [shown, state.isDrawn]);
  useEffect(() => {
    view.current?.choose(placeOf(city, chosen), { isMoving: goTo?.index === chosen });
  }, [chosen, goTo, state.isDrawn]);

  return (
    <div class="map-box">
      <div ref={element} class="map-canvas" data-drawn={state.isDrawn} />
      {!state.isDrawn && <p class="map-wait" role="status">Drawing the map…</p>}
      {state.problem && <div class="map-problem"><Failed problem={state.problem} /></div>}
      <div class="map-tools" role="group" aria-label="Map">
        <Button icon="plus" aria-label="Zoom in" onClick={() => view.current?.zoom(1)} />
        <Button icon="minus" aria-label="Zoom out" onClick={() => view.current?.zoom(-1)} />
        <Button icon="fit" aria-label="Show the whole city" onClick={() => view.current?.fit()} />
      </div>
    </div>
  );
}

function placeOf(city, index) {
  if (index === null || !city.fleet) return null;
  const { longitude, latitude } = city.fleet.columns;
  return Number.isFinite(longitude[index]) ? [longitude[index], latitude[index]] : null;
}

/** What is drawn under the devices: nothing where none is configured, or when it cannot be had. */
async function geographyOf(api) {
  return api.get("/api/city").catch(() => null);
}

function asProblem(error) {
  return {
    title: "This browser cannot draw the map",
    detail: `It needs WebGL 2. The list beside the map has the same devices. (${error.message})`,
  };
}
