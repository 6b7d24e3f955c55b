// Names of streets as HTML markers: glyph files would be requests to nowhere.

const ZOOM_MIN = 12.6;
const SHOWN_MAX = 40;
const APART_PX = 90;

/** Shows the names of the streets with the most devices, where they do not touch. */
export class StreetLabels {
  #map;
  #labels;
  #Marker;
  #markers = new Map();

  constructor(map, labels, Marker) {
    this.#map = map;
    this.#labels = labels;
    this.#Marker = Marker;
    map.on("moveend", () => this.place());
  }

  replace(labels) {
    this.remove();
    this.#labels = labels;
    this.place();
  }

  remove() {
    this.#markers.forEach((marker) => marker.remove());
    this.#markers.clear();
  }

  /** Show the names that fit into what is in view now. */
  place() {
    const wanted = this.#map.getZoom() >= ZOOM_MIN ? this.#fitting() : [];
    const names = new Set(wanted.map(({ name }) => name));
    for (const [name, marker] of this.#markers) {
      if (names.has(name)) continue;
      marker.remove();
      this.#markers.delete(name);
    }
    for (const label of wanted) {
      if (!this.#markers.has(label.name)) this.#markers.set(label.name, this.#make(label));
    }
  }

  #fitting() {
    const bounds = this.#map.getBounds();
    const taken = [];
    for (const label of this.#labels) {
      if (taken.length >= SHOWN_MAX) break;
      if (!bounds.contains([label.longitude, label.latitude])) continue;
      const at = this.#map.project([label.longitude, label.latitude]);
      const isFree = taken.every(
        (one) => Math.abs(one.at.x - at.x) > APART_PX || Math.abs(one.at.y - at.y) > APART_PX / 3,
      );
      if (isFree) taken.push({ ...label, at });
    }
    return taken;
  }

  #make({ name, longitude, latitude }) {
    const element = document.createElement("div");
    element.className = "street-label";
    element.setAttribute("aria-hidden", "true");
    element.textContent = name;
    return new this.#Marker({ element, anchor: "bottom", offset: [0, -7] })
      .setLngLat([longitude, latitude])
      .addTo(this.#map);
  }
}
