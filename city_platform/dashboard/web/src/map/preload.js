// The map's code, on its way before it is needed: with 1 MB it is most of what the first map waits for.

let isWarm = false;

/** @returns {Promise<typeof import("./city_map.js")>} */
export function loadMap() {
  return import("./city_map.js");
}

/** Load it and start its workers; once. */
export async function warmMap() {
  if (isWarm) return;
  isWarm = true;
  (await loadMap()).prewarm();
}
