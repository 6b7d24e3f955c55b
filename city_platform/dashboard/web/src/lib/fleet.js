// The devices of the city as columns, and what live changes do to them. No I/O.

/** States by number, worst last: the number is what the map's colours go by. */
export const STATES = ["unknown", "offline", "online", "warning", "critical"];

const PRESENCE = { unknown: 0, offline: 1, online: 2 };
const ALARM = { none: 0, warning: 1, critical: 2 };
const [ALARM_WARNING, ALARM_CRITICAL, ALARM_HIDDEN] = [1, 2, 3];
/** Columns with a name's number for each device, and where those names are. */
const NAMES = [["model", "models"], ["tenant", "tenants"], ["site", "sites"], ["street", "streets"]];
const BY_DEVICE = [
  "endpoint", "longitude", "latitude", "presence", "alarm", "at_us", ...NAMES.map(([name]) => name),
];

/**
 * One state out of presence and alarm: an alarm is what a person has to see first.
 * @param {number} presence 0 not known, 1 offline, 2 online
 * @param {number} alarm 0 none, 1 warning, 2 critical, 3 may not be seen
 * @returns {number} index into STATES
 */
export function stateOf(presence, alarm) {
  if (alarm === ALARM_CRITICAL) return 4;
  if (alarm === ALARM_WARNING) return 3;
  return presence;
}

/** All devices of a map answer. Changes are applied in place; counts by state are kept. */
export class Fleet {
  /** @param {object} columns the answer of GET /api/map */
  constructor(columns) {
    this.epoch = columns.epoch;
    this.revision = columns.revision;
    /** Up to which of the directory's changes these are the devices. */
    this.membership = columns.fleet ?? 0;
    this.count = columns.endpoint.length;
    this.columns = columns;
    this.indexes = new Map(columns.endpoint.map((endpoint, index) => [endpoint, index]));
    this.states = new Uint8Array(this.count);
    this.counts = new Array(STATES.length).fill(0);
    for (let index = 0; index < this.count; index += 1) {
      const state = stateOf(columns.presence[index], columns.alarm[index]);
      this.states[index] = state;
      this.counts[state] += 1;
    }
  }

  /**
   * What is known of one device.
   * @param {number} index
   */
  at(index) {
    const { columns } = this;
    return {
      index,
      endpoint: columns.endpoint[index],
      model: columns.models[columns.model[index]],
      tenant: columns.tenants[columns.tenant[index]],
      site: columns.sites[columns.site[index]],
      street: columns.streets?.[columns.street?.[index]] ?? "",
      longitude: columns.longitude[index],
      latitude: columns.latitude[index],
      state: STATES[this.states[index]],
      at_us: columns.at_us[index],
    };
  }

  /**
   * Apply the devices of one `changes` message.
   * @param {{endpoint: string, presence?: string, alarm?: string, at_us?: number}[]} devices
   * @returns {number[]} indexes whose state is another one now
   */
  apply(devices) {
    const changed = [];
    for (const device of devices) {
      const index = this.indexes.get(device.endpoint);
      if (index === undefined) continue;
      if (this.#applyOne(index, device)) changed.push(index);
    }
    return changed;
  }

  #applyOne(index, device) {
    const { columns } = this;
    if (device.at_us) columns.at_us[index] = device.at_us;
    if (device.presence in PRESENCE) columns.presence[index] = PRESENCE[device.presence];
    if (device.alarm in ALARM) columns.alarm[index] = ALARM[device.alarm];
    const state = stateOf(columns.presence[index], columns.alarm[index]);
    const before = this.states[index];
    if (state === before) return false;
    this.states[index] = state;
    this.counts[before] -= 1;
    this.counts[state] += 1;
    return true;
  }

  /**
   * The fleet with devices more, or less. A device that is here already is moved, not doubled.
   * @param {{added: object[], removed: string[], fleet?: number}} news of one `fleet` message
   * @returns {Fleet} another one: this stays as it is
   */
  with({ added, removed, fleet }) {
    const gone = new Set([...removed, ...added.map(({ endpoint }) => endpoint)]);
    const kept = this.columns.endpoint.map((endpoint) => !gone.has(endpoint));
    const columns = { ...this.columns, values: {} };
    for (const name of BY_DEVICE) {
      const column = columns[name] ?? new Array(this.count).fill(0);
      columns[name] = column.filter((_, index) => kept[index]);
    }
    for (const [path, column] of Object.entries(this.columns.values ?? {})) {
      columns.values[path] = column.filter((_, index) => kept[index]);
    }
    NAMES.forEach(([, names]) => (columns[names] = [...(columns[names] ?? [""])]));
    added.forEach((device) => this.#append(columns, device));
    Object.assign(columns, { revision: this.revision, fleet: fleet ?? this.membership });
    return new Fleet(columns);
  }

  #append(columns, device) {
    const index = this.indexes.get(device.endpoint);
    for (const name of ["endpoint", "longitude", "latitude"]) columns[name].push(device[name]);
    for (const [name, names] of NAMES) columns[name].push(numberOf(columns[names], device[name] ?? ""));
    // Of what was here already, the live stream has told better than the directory knows.
    const before = (name, other) => (index === undefined ? other : this.columns[name][index]);
    columns.presence.push(before("presence", PRESENCE[device.presence] ?? 0));
    columns.alarm.push(before("alarm", ALARM[device.alarm] ?? ALARM_HIDDEN));
    columns.at_us.push(before("at_us", device.at_us ?? null));
    for (const [path, column] of Object.entries(columns.values)) {
      column.push(index === undefined ? null : this.columns.values[path][index]);
    }
  }

  /** South, west, north, east of all devices with a position; null when there is none. */
  bounds() {
    const { longitude, latitude } = this.columns;
    let [south, west, north, east] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let index = 0; index < this.count; index += 1) {
      if (!isPlaced(longitude[index], latitude[index])) continue;
      south = Math.min(south, latitude[index]);
      north = Math.max(north, latitude[index]);
      west = Math.min(west, longitude[index]);
      east = Math.max(east, longitude[index]);
    }
    return south === Infinity ? null : { south, west, north, east };
  }
}

/** The number of a name, which is put behind the others when it is a new one. */
function numberOf(names, name) {
  const index = names.indexOf(name);
  return index === -1 ? names.push(name) - 1 : index;
}

/** Whether these are a place on earth that somebody gave: null, and 0 and 0, are none. */
export function isPlaced(longitude, latitude) {
  return (
    Number.isFinite(longitude) && Number.isFinite(latitude) && (longitude !== 0 || latitude !== 0)
  );
}
