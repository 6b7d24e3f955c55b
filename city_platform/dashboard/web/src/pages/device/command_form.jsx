// Any command to a device: write, execute, read, observe and the rest, by resource name.

import { useMemo, useState } from "preact/hooks";
import { formatUnit } from "../../lib/format.js";
import { parseValue, readRange, readingPath, WrongValue } from "../../lib/values.js";
import { Button, Card, Field, Select } from "../../ui/basics.jsx";
import { Confirm } from "../../ui/dialog.jsx";
import { Empty, Failed } from "../../ui/states.jsx";
import { useSend } from "./send.js";

const OPERATIONS = [
  ["write", "Write a value"], ["execute", "Execute"], ["read", "Read"], ["observe", "Observe"],
  ["cancel_observation", "Stop observing"], ["discover", "Discover"],
];
const EXPIRES = [["30", "30 s"], ["60", "1 min"], ["600", "10 min"], ["3600", "1 h"], ["86400", "1 day"]];
const PATH = /^\/?\d{1,5}(\/\d{1,5}){0,3}$/;

/** Which resources an operation can be asked of. */
export function targetsOf(writable, operation) {
  if (operation === "execute") return writable.filter(({ operations }) => operations?.includes("E"));
  return writable.filter(({ operations }) => operations?.includes(operation === "write" ? "W" : "R"));
}

export function CommandForm({ endpoint, writable, onSent }) {
  const [operation, setOperation] = useState("write");
  const [path, setPath] = useState("");
  const [typed, setTyped] = useState("");
  const [expires, setExpires] = useState("60");
  const [wrong, setWrong] = useState({});
  const [asked, setAsked] = useState(null);
  const { send, isBusy, problem } = useSend(endpoint, onSent);
  const targets = useMemo(() => targetsOf(writable, operation), [writable, operation]);
  const isChoice = operation === "write" || operation === "execute";
  const target = isChoice ? targets.find((one) => one.path === path) ?? targets[0] : null;

  const choosePath = (value) => { setPath(value); setTyped(""); setWrong({}); };
  const submit = (event) => {
    event.preventDefault();
    try {
      const wanted = wantedCommand({ operation, target, path, typed });
      wanted.expires_in_s = Number(expires);
      setWrong({});
      if (operation === "execute") setAsked(wanted);
      else send(wanted);
    } catch (error) {
      if (!(error instanceof WrongValue)) throw error;
      setWrong({ [error.field ?? "value"]: error.message });
    }
  };
  return (
    <Card title="Send a command">
      <form class="stack" onSubmit={submit} noValidate>
        <Field label="What">
          {(field) => (
            <Select {...field} value={operation} options={OPERATIONS}
              onChange={(value) => { setOperation(value); choosePath(""); }} />
          )}
        </Field>
        {isChoice && targets.length === 0 && <Empty title="This model has none">Choose something else to do.</Empty>}
        {isChoice && target && <Target {...{ target, targets, choosePath }} />}
        {!isChoice && (
          <Field label="Path" hint="Object, instance, resource: /3416/0/1" wrong={wrong.path}>
            {(field) => (
              <input {...field} class="mono" list="known-paths" value={path} placeholder="/3416/0/1"
                onInput={(event) => setPath(event.currentTarget.value)} />
            )}
          </Field>
        )}
        <datalist id="known-paths">{writable.map((one) => <option key={one.path} value={`/${readingPath(one.path)}`}>{one.resource}</option>)}</datalist>
        {operation === "write" && target && (
          <ValueField target={target} typed={typed} onType={setTyped} wrong={wrong.value} />
        )}
        {operation === "execute" && target && (
          <Field label="Arguments" hint="Leave empty when it needs none. Example: 0='on',1">
            {(field) => <input {...field} class="mono" value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />}
          </Field>
        )}
        <Field label="Give up after">
          {(field) => <Select {...field} value={expires} options={EXPIRES} onChange={setExpires} />}
        </Field>
        {problem && <Failed problem={problem} />}
        <Button type="submit" tone="primary" icon="send" isBusy={isBusy} disabled={isChoice && !target}>Send</Button>
      </form>
      {asked && (
        <Confirm title={`Execute ${target.resource}?`} label="Execute" onClose={() => setAsked(null)}
          onConfirm={() => send(asked)}>
          <p>{endpoint} is told to do it once. It is never sent twice, and cannot be taken back.</p>
        </Confirm>
      )}
    </Card>
  );
}

/** The command, or `WrongValue` with the field that has to be mended. */
function wantedCommand({ operation, target, path, typed }) {
  if (operation === "write") {
    return { operation, path: target.path, type: target.type, value: parseValue(target.type, typed, target.range) };
  }
  if (operation === "execute") return { operation, path: target.path, args: typed };
  if (!PATH.test(path.trim())) {
    throw Object.assign(new WrongValue("Enter a path of numbers, such as /3416/0/1."), { field: "path" });
  }
  return { operation, path: path.trim() };
}

function Target({ target, targets, choosePath }) {
  const options = targets.map(({ path, object, resource }) => [path, `${object} · ${resource} (/${readingPath(path)})`]);
  return (
    <Field label="Resource" hint={target.description}>
      {(field) => <Select {...field} value={target.path} options={options} onChange={choosePath} />}
    </Field>
  );
}

/** The right control for a type: a switch, a number, a slider's ends said as a hint, or text. */
export function ValueField({ target, typed, onType, wrong }) {
  if (target.type === "boolean") {
    return (
      <label class="check">
        <input type="checkbox" checked={typed === true} onChange={(event) => onType(event.currentTarget.checked)} />
        {target.resource}
      </label>
    );
  }
  const unit = formatUnit(target.unit);
  const ends = readRange(target.range);
  const hint = [ends && `${ends[0]} to ${ends[1]}`, unit].filter(Boolean).join(" ");
  const isNumber = ["integer", "unsigned", "float", "time"].includes(target.type);
  return (
    <Field label="Value" hint={hint || undefined} wrong={wrong}>
      {(field) => (
        <input {...field} value={typed === true || typed === false ? "" : typed} inputMode={isNumber ? "decimal" : "text"}
          onInput={(event) => onType(event.currentTarget.value)} />
      )}
    </Field>
  );
}
