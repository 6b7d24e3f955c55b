// Many live messages, one piece of work per animation frame.

/**
 * Merge what changed of each device; later fields win, values by path.
 * @param {Map<string, object>} into
 * @param {{endpoint: string, values?: object}[]} devices
 */
export function mergeChanges(into, devices) {
  for (const device of devices) {
    const before = into.get(device.endpoint);
    if (before === undefined) {
      into.set(device.endpoint, device);
      continue;
    }
    const values = device.values ? { ...before.values, ...device.values } : before.values;
    into.set(device.endpoint, { ...before, ...device, ...(values ? { values } : {}) });
  }
}

/**
 * Collects changes and hands them over once per frame.
 * @param {(run: () => void) => unknown} schedule such as requestAnimationFrame
 * @param {(devices: object[]) => void} deliver
 * @returns {(devices: object[]) => void} takes the devices of one message
 */
export function coalescePerFrame(schedule, deliver) {
  const waiting = new Map();
  let isScheduled = false;
  return (devices) => {
    mergeChanges(waiting, devices);
    if (isScheduled || waiting.size === 0) return;
    isScheduled = true;
    schedule(() => {
      isScheduled = false;
      const all = [...waiting.values()];
      waiting.clear();
      deliver(all);
    });
  };
}
