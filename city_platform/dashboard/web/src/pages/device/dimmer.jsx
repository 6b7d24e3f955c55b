// The light of a lamp, by a slider.

import { useEffect, useState } from "preact/hooks";
import { formatValue } from "../../lib/format.js";
import { readingPath } from "../../lib/values.js";
import { Button, Card } from "../../ui/basics.jsx";
import { Failed } from "../../ui/states.jsx";
import { useSend } from "./send.js";

const PRESETS = [["Off", 0], ["30 %", 30], ["70 %", 70], ["Full", 100]];

export function DimmerCard({ endpoint, target, resources, onSent }) {
  const reported = reportedLevel(target, resources);
  const [level, setLevel] = useState(reported ?? 50);
  const [isTouched, setTouched] = useState(false);
  const { send, isBusy, problem } = useSend(endpoint, onSent);
  useEffect(() => {
    if (!isTouched && reported !== null) setLevel(Math.round(reported));
  }, [reported]);
  const choose = (value) => {
    setTouched(true);
    setLevel(value);
  };
  const apply = async (value) => {
    choose(value);
    const wanted = { operation: "write", path: target.path, type: target.type ?? "integer", value };
    if (await send(wanted)) setTouched(false);
  };
  return (
    <Card title="Light">
      <form class="dimmer" onSubmit={(event) => { event.preventDefault(); apply(level); }}>
        <p class="dimmer-head">
          <output for="dimmer" aria-live="off">{level}&nbsp;%</output>
          {reported !== null && <span class="muted">reported: <b>{formatValue(reported, "/100")}</b></span>}
        </p>
        <label class="visually-hidden" for="dimmer">Dimming level in per cent</label>
        <input id="dimmer" type="range" min="0" max="100" step="1" value={level}
          aria-valuetext={`${level} per cent`}
          onInput={(event) => choose(Number(event.currentTarget.value))} />
        <div class="row">
          {PRESETS.map(([label, value]) => (
            <Button key={label} class="button small" disabled={isBusy} onClick={() => apply(value)}>{label}</Button>
          ))}
        </div>
        <Button type="submit" tone="primary" icon="send" isBusy={isBusy}>Set to {level} %</Button>
        {problem && <Failed problem={problem} />}
      </form>
    </Card>
  );
}

/** What the lamp says its level is: the command's own resource, or what is in effect. */
function reportedLevel(target, resources) {
  const [object, instance] = readingPath(target.path).split("/");
  const wanted = object === "3416" ? [`3416/${instance}/3`, `3416/${instance}/1`] : [readingPath(target.path)];
  for (const path of wanted) {
    const found = resources?.find((one) => readingPath(one.path) === path);
    const value = found?.shown ?? found?.value;
    if (typeof value === "number") return value;
  }
  return null;
}
