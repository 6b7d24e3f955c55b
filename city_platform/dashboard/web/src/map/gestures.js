// Pointers, wheel and keys on the map, as moves and zooms.

const CLICK_PX = 4;
const WHEEL_LEVEL = 320;
const KEY_PX = 100;
const LINE_PX = 16;

const KEYS = {
  ArrowLeft: [KEY_PX, 0], ArrowRight: [-KEY_PX, 0], ArrowUp: [0, KEY_PX], ArrowDown: [0, -KEY_PX],
};

/**
 * Listen on an element until the signal ends.
 * @param {HTMLElement} element
 * @param {{move: (dx: number, dy: number, isStep?: boolean) => void,
 *   zoom: (by: number, x?: number, y?: number, isStep?: boolean) => void,
 *   click: (x: number, y: number) => void, hover: (x: number, y: number) => void}} to
 * @param {AbortSignal} signal
 */
export function listenTo(element, to, signal) {
  const on = (name, take, options) => element.addEventListener(name, take, { signal, ...options });
  const pointers = new Pointers(element, to);
  on("pointerdown", (event) => pointers.down(event));
  on("pointermove", (event) => pointers.moved(event));
  for (const name of ["pointerup", "pointercancel"]) on(name, (event) => pointers.up(event));
  on("wheel", (event) => wheeled(event, element, to), { passive: false });
  on("dblclick", (event) => {
    const at = placeIn(element, event);
    to.zoom(event.shiftKey ? -1 : 1, at.x, at.y, true);
  });
  on("keydown", (event) => pressed(event, to));
}

function wheeled(event, element, to) {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? LINE_PX : 1;
  // A pinch on a touch pad comes as a wheel with the control key, in much smaller steps.
  const by = (-event.deltaY * lines * (event.ctrlKey ? 6 : 1)) / WHEEL_LEVEL;
  const at = placeIn(element, event);
  to.zoom(Math.max(-1, Math.min(1, by)), at.x, at.y);
}

function pressed(event, to) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const way = KEYS[event.key];
  if (way) to.move(...way, true);
  else if (event.key === "+" || event.key === "=") to.zoom(1, undefined, undefined, true);
  else if (event.key === "-") to.zoom(-1, undefined, undefined, true);
  else return;
  event.preventDefault();
}

/** One pointer moves, two pinch, one that hardly moved has clicked. */
class Pointers {
  #element;
  #to;
  #held = new Map();
  #start = null;

  constructor(element, to) {
    this.#element = element;
    this.#to = to;
  }

  down(event) {
    if (event.button) return;
    this.#element.setPointerCapture(event.pointerId);
    const at = placeIn(this.#element, event);
    this.#start = this.#held.size ? null : at;
    this.#held.set(event.pointerId, at);
  }

  moved(event) {
    const at = placeIn(this.#element, event);
    const before = this.#held.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") this.#to.hover(at.x, at.y);
      return;
    }
    if (this.#start && distance(this.#start, at) <= CLICK_PX) return;
    this.#start = null;
    this.#held.set(event.pointerId, at);
    const other = [...this.#held].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return void this.#to.move(at.x - before.x, at.y - before.y);
    const middle = { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 };
    this.#to.move((at.x - before.x) / 2, (at.y - before.y) / 2);
    const ratio = Math.max(distance(at, other), 1) / Math.max(distance(before, other), 1);
    this.#to.zoom(Math.log2(ratio), middle.x, middle.y);
  }

  up(event) {
    if (!this.#held.delete(event.pointerId)) return;
    if (this.#start && event.type === "pointerup") this.#to.click(this.#start.x, this.#start.y);
    this.#start = null;
  }
}

function distance(one, other) {
  return Math.hypot(one.x - other.x, one.y - other.y);
}

function placeIn(element, { clientX, clientY }) {
  const { left, top } = element.getBoundingClientRect();
  return { x: clientX - left, y: clientY - top };
}
