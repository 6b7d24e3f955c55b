// The colours of the stylesheet, for what is drawn on a canvas.

/**
 * Reads colours as they are now: a property that says two, for light and for dark, is one of them.
 * @returns {(name: string, opacity?: number) => string} by the name, such as `--map-online`
 */
export function colours() {
  const probe = document.documentElement;
  const read = (name) => {
    probe.style.setProperty("outline-color", `var(${name})`);
    return getComputedStyle(probe).outlineColor;
  };
  return (name, opacity = 1) => {
    const found = read(name);
    probe.style.removeProperty("outline-color");
    return opacity === 1 ? found : found.replace(/^rgb\((.*)\)$/, `rgba($1, ${opacity})`);
  };
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
