// One device: what it is, what it says, what it may be told, and what became of that.

import { useEffect, useRef, useState } from "preact/hooks";
import { useApp, useLoaded } from "../context.js";
import { FINAL, mergeCommands } from "../lib/commands.js";
import { asWords } from "../lib/format.js";
import { addressOf } from "../lib/route.js";
import { dimmerOf, inModelUnit, readingPath } from "../lib/values.js";
import { Ago, Button, Card, Facts, PageHead, StateMark } from "../ui/basics.jsx";
import { Confirm } from "../ui/dialog.jsx";
import { Failed, Loading, Notice } from "../ui/states.jsx";
import { HistoryCard } from "./device/history.jsx";
import { AlarmsCard } from "./device/alarms.jsx";
import { CertificatesCard } from "./device/certificates.jsx";
import { CommandForm } from "./device/command_form.jsx";
import { CommandsCard } from "./device/commands.jsx";
import { DimmerCard } from "./device/dimmer.jsx";
import { ResourcesCard } from "./device/resources.jsx";

const RELOAD_MS = 400;

export function DevicePage({ endpoint }) {
  const { api } = useApp();
  const loaded = useLoaded(
    (signal) => api.get(`/api/devices/${encodeURIComponent(endpoint)}`, { signal }), [endpoint],
  );
  const back = { to: addressOf("map", {}, { device: endpoint }), label: "Map" };
  if (loaded.data) return <Device page={loaded.data} loaded={loaded} back={back} />;
  return (
    <>
      <PageHead title={endpoint} back={back} />
      {loaded.problem
        ? <Failed problem={deviceProblem(loaded.problem)} again={loaded.again} />
        : <Card><Loading rows={9} /></Card>}
    </>
  );
}

function deviceProblem(problem) {
  if (problem.status !== 404) return problem;
  return { status: 404, title: "There is no such device", detail: "It was never provisioned here, or was removed since." };
}

/** The page's data with what the live stream tells about this device; returns what came last. */
function useLivePage(page, loaded) {
  const { city } = useApp();
  const { endpoint } = page.device;
  const [fresh, setFresh] = useState({});
  const latest = useRef(page);
  latest.current = page;
  useEffect(() => {
    let timer = 0;
    const reloadSoon = () => {
      timer ||= setTimeout(() => {
        timer = 0;
        loaded.again();
      }, RELOAD_MS);
    };
    const stop = city.listen(({ devices }) => {
      const news = devices.find((one) => one.endpoint === endpoint);
      if (!news) return;
      if (isMoreThanNews(latest.current, news)) reloadSoon();
      loaded.replace((before) => before && withNews(before, news));
      if (news.values) setFresh(news.values);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [endpoint]);
  useEffect(() => city.listenToCommands((commands) => {
    const mine = commands.filter((one) => one.endpoint === endpoint);
    if (mine.length) takeCommands(loaded, mine);
  }), [endpoint]);
  return fresh;
}

/** Whether the news tell of something that only the whole page has: a new resource, an alarm. */
function isMoreThanNews({ state, alarms, resources }, { alarm, values }) {
  if (alarms && alarm && alarm !== state.alarm) return true;
  if (!resources || !values) return false;
  const known = new Set(resources.map(({ path }) => readingPath(path)));
  return Object.keys(values).some((path) => !known.has(readingPath(path)));
}

function takeCommands(loaded, commands) {
  loaded.replace((page) => page && { ...page, commands: mergeCommands(page.commands ?? [], commands) });
}

function withNews(page, { presence, alarm, at_us, values }) {
  const state = { ...page.state, ...(presence && { presence }), ...(alarm && { alarm }), ...(at_us && { at_us }) };
  if (!values || !page.resources) return { ...page, state };
  const byPath = new Map(Object.entries(values).map(([path, value]) => [readingPath(path), value]));
  const resources = page.resources.map((one) => {
    const path = readingPath(one.path);
    if (!byPath.has(path)) return one;
    const value = byPath.get(path);
    return { ...one, value, shown: shownOf(one, value), at_us: at_us ?? one.at_us };
  });
  return { ...page, state, resources };
}

/** A live value in the unit of the page: as the server's own answer relates the two. */
function shownOf(resource, value) {
  if (typeof value !== "number" || resource.shown === null) return null;
  if (resource.reading) return inModelUnit(value, resource.reading);
  const isSame = !resource.reading_unit || resource.reading_unit === resource.unit;
  if (isSame) return value;
  const hasRatio = typeof resource.value === "number" && resource.value !== 0 && resource.shown !== 0;
  const isPercent = resource.unit === "/100" && resource.reading_unit === "/";
  if (isPercent) return Number((value * 100).toPrecision(12));
  return hasRatio ? Number(((value * resource.shown) / resource.value).toPrecision(10)) : value;
}

/** Commands that have not ended are asked for, where the live stream does not tell of them. */
function useOpenCommands(page, loaded) {
  const { api } = useApp();
  const open = (page.commands ?? []).filter(({ state }) => !FINAL.has(state)).slice(0, 5);
  const key = open.map(({ id }) => id).join();
  useEffect(() => {
    if (!key) return undefined;
    const timer = setInterval(async () => {
      const path = (id) => `/api/control/v1/commands/${encodeURIComponent(id)}`;
      const news = await Promise.all(key.split(",").map((id) => api.get(path(id)).catch(() => null)));
      takeCommands(loaded, news.filter(Boolean));
    }, 2000);
    return () => clearInterval(timer);
  }, [key]);
}

function Device({ page, loaded, back }) {
  const { device, may, state, resources, writable, commands, problems } = page;
  const fresh = useLivePage(page, loaded);
  useOpenCommands(page, loaded);
  const mayCommand = may.includes("issue_command");
  const dimmer = mayCommand ? dimmerOf(writable ?? []) : null;
  const onSent = (record) => takeCommands(loaded, [record]);
  const shown = state.alarm === "critical" || state.alarm === "warning" ? state.alarm : state.presence;
  return (
    <>
      <PageHead title={device.endpoint} back={back}
        about={[asWords(device.model), device.street, asWords(device.site)].filter(Boolean).join(" · ")}>
        <StateMark state={shown} isHeard={state.at_us !== null} />
        <span class="muted">heard <Ago at={state.at_us} /></span>
        {may.includes("remove_device") && <RemoveDevice endpoint={device.endpoint} />}
      </PageHead>
      <div class="device-grid">
        <div class="stack first">
          {dimmer && <DimmerCard endpoint={device.endpoint} target={dimmer} resources={resources} onSent={onSent} />}
          {page.alarms && <AlarmsCard alarms={page.alarms} may={may} onChange={loaded.again} />}
        </div>
        <div class="stack main">
          {problems?.map(({ part, title, detail }) => (
            <Notice key={part} tone="warn" title={`${asWords(part)}: ${title}`}>{detail}</Notice>
          ))}
          {resources && <ResourcesCard resources={resources} fresh={fresh} />}
          {resources && <HistoryCard endpoint={device.endpoint} resources={resources} />}
          {commands && <CommandsCard commands={commands} may={may} endpoint={device.endpoint} onNews={onSent} />}
        </div>
        <div class="stack rest">
          {mayCommand && <CommandForm endpoint={device.endpoint} writable={writable ?? []} onSent={onSent} />}
          <AboutCard device={device} />
          {page.certificates && <CertificatesCard {...{ page, onChange: loaded.again }} />}
        </div>
      </div>
    </>
  );
}

function AboutCard({ device }) {
  const attributes = Object.entries(device.attributes ?? {}).map(([name, value]) => [asWords(name), value]);
  return (
    <Card title="About">
      <Facts rows={[
        ["Serial number", device.serial], ["Model", asWords(device.model)], ["Tenant", asWords(device.tenant)],
        ["Site", asWords(device.site)], ["Group", device.group && asWords(device.group)], ["Street", device.street],
        ["Position", `${device.latitude.toFixed(5)}, ${device.longitude.toFixed(5)}`],
        ["Installed on", device.installed_on], ...attributes,
      ]} />
    </Card>
  );
}

function RemoveDevice({ endpoint }) {
  const { api, navigate, tell, city } = useApp();
  const [isAsking, setAsking] = useState(false);
  const remove = async () => {
    await api.delete(`/api/provisioning/v1/devices/${encodeURIComponent(endpoint)}`);
    tell(`${endpoint} was removed.`);
    city.load({ isFresh: true });
    navigate(addressOf("map"));
  };
  return (
    <>
      <Button tone="danger" onClick={() => setAsking(true)}>Remove…</Button>
      {isAsking && (
        <Confirm title={`Remove ${endpoint}?`} label="Remove device" onConfirm={remove}
          onClose={() => setAsking(false)}>
          <p>Its access ends first: certificate, thing and policy. Then its data goes. The audit log keeps what was done.
            To bring it back, import it again; it then gets new credentials.</p>
        </Confirm>
      )}
    </>
  );
}

