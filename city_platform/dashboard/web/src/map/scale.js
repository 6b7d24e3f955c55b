// The bar that says how far apart things are.

const WIDTH_PX = 110;
const FACTORS = [5, 2, 1];

/** The longest round distance whose bar is no wider than it may be. */
export function roundDistance(metresPerPixel) {
  const most = metresPerPixel * WIDTH_PX;
  const power = 10 ** Math.floor(Math.log10(most));
  const metres = power * FACTORS.find((factor) => factor * power <= most);
  return { metres, px: metres / metresPerPixel };
}

/** @param {HTMLElement} element @param {import("../lib/mercator.js").View} view */
export function showScale(element, view) {
  const { metres, px } = roundDistance(view.metresPerPixel);
  element.style.width = `${Math.round(px)}px`;
  element.textContent = metres >= 1000 ? `${metres / 1000} km` : `${metres} m`;
}
