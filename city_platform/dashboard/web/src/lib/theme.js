// The colours of the stylesheet, for what is drawn on a canvas.

/**
 * A custom property's value as it is now.
 * @param {string} name such as `--map-online`
 */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Call `listener` when the colours change, by the switch or by the system.
 * @param {() => void} listener
 * @returns {() => void} stops it
 */
export function onThemeChange(listener) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", listener);
  addEventListener("themechange", listener);
  return () => {
    system.removeEventListener("change", listener);
    removeEventListener("themechange", listener);
  };
}
