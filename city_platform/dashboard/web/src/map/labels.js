// Names of streets as elements over the map: they are sharp, and come in the page's own type.

const ZOOM_MIN = 12.6;
const SHOWN_MAX = 40;
const APART_PX = 90;
const ABOVE_PX = 7;

/** Shows the names of the streets with the most devices, where they do not touch. */
export class StreetLabels {
  #box;
  #labels;
  #elements = new Map();

  /** @param {HTMLElement} box lies over the map */
  constructor(box, labels) {
    this.#box = box;
    this.#labels = labels;
  }

  replace(labels) {
    this.#box.replaceChildren();
    this.#elements.clear();
    this.#labels = labels;
  }

  /** Choose the names that fit into a view, once it stands still. */
  choose(view) {
    const wanted = view.zoom >= ZOOM_MIN ? this.#fitting(view) : [];
    const names = new Set(wanted.map(({ name }) => name));
    for (const [name, { element }] of this.#elements) {
      if (names.has(name)) continue;
      element.remove();
      this.#elements.delete(name);
    }
    for (const label of wanted) {
      if (!this.#elements.has(label.name)) this.#elements.set(label.name, this.#made(label));
    }
    this.place(view);
  }

  /** Move the names with the map. */
  place(view) {
    for (const { element, label } of this.#elements.values()) {
      const at = view.pixelOf(label.x, label.y);
      element.style.transform =
        `translate(-50%, -100%) translate(${Math.round(at.x)}px, ${Math.round(at.y) - ABOVE_PX}px)`;
    }
  }

  #fitting(view) {
    const taken = [];
    for (const label of this.#labels) {
      if (taken.length >= SHOWN_MAX) break;
      const at = view.pixelOf(label.x, label.y);
      if (at.x < 0 || at.y < 0 || at.x > view.width || at.y > view.height) continue;
      const isFree = taken.every(
        (one) => Math.abs(one.at.x - at.x) > APART_PX || Math.abs(one.at.y - at.y) > APART_PX / 3,
      );
      if (isFree) taken.push({ ...label, at });
    }
    return taken;
  }

  #made(label) {
    const element = document.createElement("div");
    element.className = "street-label";
    element.textContent = label.name;
    this.#box.append(element);
    return { element, label };
  }
}
