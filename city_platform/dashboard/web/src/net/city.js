// The city as this tab knows it: the devices' columns, kept up to date by the live stream.

import { coalescePerFrame } from "../lib/coalesce.js";
import { mergeCommands } from "../lib/commands.js";
import { Fleet } from "../lib/fleet.js";

const COMMANDS_MAX = 200;
const FRESH = { headers: { "Cache-Control": "no-cache" } };

/** @typedef {"loading" | "ready" | "failed" | "none"} CityState */

/**
 * Loads the map, follows /live, and tells listeners once per animation frame.
 *
 * Listeners get `{indexes, devices}`: the devices whose state is another one, and all changes.
 */
export class City {
  #api;
  #openSource;
  #source = null;
  #listeners = new Set();
  #commandListeners = new Set();
  #held = null;
  #push;
  #reopening = 0;
  #isWanted = false;

  /** @param {{api: object, openSource: (url: string) => EventSource, schedule: Function}} parts */
  constructor({ api, openSource, schedule }) {
    this.#api = api;
    this.#openSource = openSource;
    this.#push = coalescePerFrame(schedule, (devices) => this.#deliver(devices));
    /** @type {CityState} */
    this.state = "loading";
    this.fleet = null;
    this.problem = null;
    this.link = "connecting";
    this.telemetry = "connected";
    this.commands = [];
    this.version = 0;
  }

  /** @param {(news: {indexes: number[], devices: object[], isNew?: boolean}) => void} listener */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @param {(commands: object[]) => void} listener */
  listenToCommands(listener) {
    this.#commandListeners.add(listener);
    return () => this.#commandListeners.delete(listener);
  }

  /** @param {{hasMap: boolean, isLive: boolean, onSignedOut: () => void}} options */
  async start({ hasMap, isLive, onSignedOut }) {
    this.onSignedOut = onSignedOut;
    this.#isWanted = true;
    if (hasMap) await this.load();
    else this.#set("none");
    if (isLive && this.#isWanted) this.#open();
    else this.#link("none");
  }

  /**
   * Get the map anew; what the stream tells meanwhile is kept and applied after.
   * @param {{isFresh?: boolean}} [options] `isFresh`: devices came or went just now, and the server
   *   must not tell those that it remembers from a moment ago
   */
  async load({ isFresh = false } = {}) {
    if (this.state !== "ready") this.#set("loading");
    this.#held = [];
    try {
      this.fleet = new Fleet(await this.#api.get("/api/map", isFresh ? FRESH : {}));
      this.problem = null;
      this.#set("ready", true);
    } catch (problem) {
      this.problem = problem;
      if (this.state !== "ready") this.#set("failed");
    } finally {
      const held = this.#held ?? [];
      this.#held = null;
      held.forEach((take) => take());
    }
  }

  stop() {
    this.#isWanted = false;
    clearTimeout(this.#reopening);
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    const { epoch, revision, membership } = this.fleet ?? {};
    const query = epoch === undefined
      ? "" : `?${new URLSearchParams({ epoch, revision, fleet: membership })}`;
    const source = this.#openSource(`/live${query}`);
    this.#source = source;
    const on = (name, take) => source.addEventListener(name, ({ data }) => take(JSON.parse(data)));
    source.onopen = () => this.#link("live");
    source.onerror = () => this.#lost(source);
    on("hello", () => this.#link("live"));
    const inTurn = (take) => (message) =>
      this.#held ? this.#held.push(() => take(message)) : take(message);
    on("changes", inTurn((message) => this.#take(message)));
    on("fleet", inTurn((message) => this.#takeMembers(message)));
    on("resync", () => this.load({ isFresh: true }));
    on("source", ({ telemetry }) => this.#set(this.state, false, { telemetry }));
    on("commands", ({ commands }) => this.#takeCommands(commands));
    on("signed_out", () => {
      this.stop();
      this.onSignedOut();
    });
  }

  /** EventSource tries again by itself, but not after a refusal. */
  #lost(source) {
    this.#link("lost");
    if (source.readyState !== 2) return;
    source.close();
    this.#reopening = setTimeout(() => this.#open(), 10_000);
  }

  #take({ revision, devices }) {
    if (this.fleet && revision <= this.fleet.revision) return;
    if (this.fleet) this.fleet.revision = revision;
    this.#push(devices);
  }

  /** Devices came or went. */
  #takeMembers(message) {
    if (!this.fleet || message.fleet <= this.fleet.membership) return;
    this.fleet = this.fleet.with(message);
    this.#set(this.state, true);
  }

  #deliver(devices) {
    const indexes = this.fleet?.apply(devices) ?? [];
    this.version += 1;
    this.#listeners.forEach((listener) => listener({ indexes, devices }));
  }

  #takeCommands(commands) {
    this.commands = mergeCommands(this.commands, commands, COMMANDS_MAX);
    this.#commandListeners.forEach((listener) => listener(commands));
  }

  #link(link) {
    if (this.link !== link) this.#set(this.state, false, { link });
  }

  #set(state, isNew = false, rest = {}) {
    this.state = state;
    Object.assign(this, rest);
    this.version += 1;
    this.#listeners.forEach((listener) => listener({ indexes: [], devices: [], isNew }));
  }
}
