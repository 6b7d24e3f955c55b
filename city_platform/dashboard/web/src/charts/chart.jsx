// A line over time, by uPlot; loaded when the first chart is shown.

import { useEffect, useRef } from "preact/hooks";
import { formatNumber, formatUnit } from "../lib/format.js";
import { colours, onThemeChange } from "../lib/theme.js";

const HEIGHT_PX = 230;

/**
 * @param {{data: [number[], (number | null)[]], label: string, unit?: string, isStepped?: boolean,
 *   range: [number, number]}} props times in Unix seconds; `range` is what the axis spans
 */
export function Chart({ data, label, unit, isStepped, range }) {
  const element = useRef(null);
  const plot = useRef(null);
  const latest = useRef({ data, range });
  latest.current = { data, range };
  useEffect(() => {
    let isGone = false;
    let stop = () => {};
    const observer = new ResizeObserver(([entry]) =>
      plot.current?.setSize({ width: Math.floor(entry.contentRect.width), height: HEIGHT_PX }));
    import("uplot").then(({ default: UPlot }) => {
      if (isGone) return;
      const draw = () => {
        plot.current?.destroy();
        const width = Math.max(200, Math.floor(element.current.clientWidth));
        plot.current = new UPlot(optionsOf({ UPlot, label, unit, isStepped, width, latest }),
          latest.current.data, element.current);
      };
      draw();
      observer.observe(element.current);
      stop = onThemeChange(draw);
    });
    return () => {
      isGone = true;
      stop();
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [label, unit, isStepped]);
  useEffect(() => plot.current?.setData(data), [data, range]);
  return <div ref={element} class="chart" role="img" aria-label={spoken(data, label, unit)} />;
}

function optionsOf({ UPlot, label, unit, isStepped, width, latest }) {
  const colour = colours();
  const axis = {
    stroke: colour("--text-3"), font: "12px system-ui", grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1, size: 4 },
  };
  const value = (_, one) => (one == null ? "–" : `${formatNumber(one)} ${formatUnit(unit)}`);
  return {
    width, height: HEIGHT_PX,
    scales: {
      x: { time: true, range: () => latest.current.range },
      y: { range: (_, low, high) => spanOf(low, high) },
    },
    cursor: { drag: { x: false, y: false } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((at) => clock(at, latest.current.range)) },
      { ...axis, size: 54, values: (_, ticks) => ticks.map((one) => formatNumber(one)) },
    ],
    series: [
      { label: "Time", value: (_, at) => (at == null ? "–" : new Date(at * 1000).toLocaleString()) },
      {
        label, value, stroke: colour("--accent"), width: 1.8, fill: colour("--accent", 0.09),
        points: { show: latest.current.data[0].length < 60, size: 5 },
        ...(isStepped ? { paths: UPlot.paths.stepped({ align: 1 }) } : {}),
      },
    ],
  };
}

/** A flat line lies in the middle, and nothing touches the edge. */
function spanOf(low, high) {
  if (low == null || high == null) return [0, 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

function clock(at, [from, to]) {
  const time = new Date(at * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const hours = `${two(time.getHours())}:${two(time.getMinutes())}`;
  if (to - from > 86_400 * 2) return `${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return to - from < 600 ? `${hours}:${two(time.getSeconds())}` : hours;
}

function spoken([times, values], label, unit) {
  const numbers = values.filter((one) => one != null);
  if (!numbers.length) return `${label}: no readings in this time`;
  const low = numbers.reduce((one, other) => Math.min(one, other));
  const high = numbers.reduce((one, other) => Math.max(one, other));
  const shown = (one) => `${formatNumber(one)} ${formatUnit(unit)}`;
  return `${label}: ${times.length} readings, ${shown(low)} to ${shown(high)}, last ${shown(numbers.at(-1))}`;
}
