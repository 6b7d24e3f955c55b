// One command to many devices: whom, what, how fast; asked once more before it goes.

import { useState } from "preact/hooks";
import { useApp, useLoaded } from "../context.js";
import { asWords, formatNumber, formatUnit } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { commandBody, commandPath, parseValue, WrongValue } from "../lib/values.js";
import { Button, Field, Select } from "../ui/basics.jsx";
import { Dialog } from "../ui/dialog.jsx";
import { Failed, Notice } from "../ui/states.jsx";
import { newKey } from "./device/send.js";

const OPERATIONS = [["write", "Write a value"], ["execute", "Execute"], ["read", "Read"]];
const RATES = [["", "As configured"], ["5", "5 a second"], ["20", "20 a second"], ["100", "100 a second"]];
const PATH = /^\/?\d{1,5}(\/\d{1,5}){0,3}$/;
const START = { operation: "write", path: "/3416/0/1", value: "50", rate: "" };

/** @param {{search: Record<string, string>, onClose: () => void}} props `search`: as of GET /api/devices */
export function GroupCommandDialog({ search, onClose }) {
  const { api, navigate, tell, city } = useApp();
  const [asked, setAsked] = useState(START);
  const [state, setState] = useState({ wrong: {}, problem: null, isBusy: false, isSure: false });
  const models = useLoaded((signal) => api.get("/api/models", { signal }), []);
  const resource = resourceOf(models.data, asked.path);
  const change = (name) => (value) => {
    setAsked((before) => ({ ...before, [name]: value }));
    setState({ wrong: {}, problem: null, isBusy: false, isSure: false });
  };
  const submit = async (event) => {
    event.preventDefault();
    let body;
    try {
      body = bodyOf(search, asked, resource);
    } catch (error) {
      if (!(error instanceof WrongValue)) throw error;
      return setState((before) => ({ ...before, wrong: { [error.field ?? "value"]: error.message } }));
    }
    if (!state.isSure) return setState((before) => ({ ...before, wrong: {}, isSure: true }));
    setState((before) => ({ ...before, isBusy: true, problem: null }));
    try {
      const headers = { "Idempotency-Key": newKey() };
      const record = await api.post("/api/control/v1/commands", body, { headers });
      tell(`Command to ${formatNumber(record.devices, 0)} devices accepted.`, "info");
      return navigate(addressOf("group", { id: record.id }));
    } catch (problem) {
      return setState((before) => ({ ...before, problem, isBusy: false }));
    }
  };
  const whom = whomOf(search);
  const isEverybody = whom === "";
  return (
    <Dialog title="Command to many devices" onClose={onClose}>
      <form class="stack" onSubmit={submit} noValidate>
        <Notice tone={isEverybody ? "warn" : "info"} title={isEverybody ? `All devices that you may command (up to ${formatNumber(city.fleet.count, 0)})` : "The devices of this search"}>
          {isEverybody ? "Narrow the search first if that is not meant." : whom}
        </Notice>
        <Field label="What">{(field) => <Select {...field} value={asked.operation} options={OPERATIONS} onChange={change("operation")} />}</Field>
        <Field label="Path" hint={resource ? `${resource.object} · ${resource.name}` : "Object, instance, resource: /3416/0/1"} wrong={state.wrong.path}>
          {(field) => <input {...field} class="mono" value={asked.path} onInput={(event) => change("path")(event.currentTarget.value)} />}
        </Field>
        {asked.operation !== "read" && (
          <Field label={asked.operation === "write" ? "Value" : "Arguments"} wrong={state.wrong.value}
            hint={asked.operation === "write" ? [resource?.range, formatUnit(resource?.unit)].filter(Boolean).join(" ") || undefined : "Leave empty when it needs none."}>
            {(field) => <input {...field} value={asked.value} onInput={(event) => change("value")(event.currentTarget.value)} />}
          </Field>
        )}
        <Field label="How fast" hint="Devices have their turn one after the other, so that the network is not flooded.">
          {(field) => <Select {...field} value={asked.rate} options={RATES} onChange={change("rate")} />}
        </Field>
        {state.problem && <Failed problem={state.problem} />}
        {state.isSure && <p role="status"><b>Send it? Press once more.</b> It goes to every device that the search finds now.</p>}
        <footer class="dialog-foot">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" tone="primary" icon="send" isBusy={state.isBusy}>{state.isSure ? "Yes, send to all" : "Send"}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

function whomOf(search) {
  return Object.entries(search).map(([name, value]) => name === "box" ? "within the map's view" : `${name}: ${asWords(value)}`).join(", ");
}

/** What the object models know of a path; null for what they do not. */
function resourceOf(models, path) {
  const [, object, , number] = commandPath(path.trim()).split("/");
  const model = models?.objects[object];
  const resource = model?.resources[number];
  return resource ? { ...resource, object: model.name } : null;
}

function bodyOf(search, { operation, path, value, rate }, resource) {
  if (!PATH.test(path.trim())) {
    throw Object.assign(new WrongValue("Enter a path of numbers, such as /3416/0/1."), { field: "path" });
  }
  const typed = operation === "write" ? parseValue(resource?.type ?? guessedType(value), value, resource?.range) : undefined;
  const command = commandBody({ operation, path: path.trim(), type: resource?.type ?? guessedType(value), value: typed, args: value });
  return { target: { search }, command, ...(rate ? { rate_per_s: Number(rate) } : {}) };
}

function guessedType(text) {
  if (/^-?\d+$/.test(text)) return "integer";
  return Number.isFinite(Number(text)) ? "float" : "string";
}
