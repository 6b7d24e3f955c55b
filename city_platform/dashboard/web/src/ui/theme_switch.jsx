// Light, dark, or as the system wishes; kept in this browser.

import { useState } from "preact/hooks";
import { Icon } from "./icons.jsx";

const KEY = "lamplighter.theme";
const CHOICES = [["auto", "As the system", "auto"], ["light", "Light", "sun"], ["dark", "Dark", "moon"]];

export function ThemeSwitch() {
  const [theme, setTheme] = useState(localStorage.getItem(KEY) ?? "auto");
  const choose = (wanted) => {
    if (wanted === "auto") {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem(KEY, wanted);
      document.documentElement.dataset.theme = wanted;
    }
    setTheme(wanted);
    dispatchEvent(new Event("themechange"));
  };
  return (
    <fieldset class="theme-switch">
      <legend class="visually-hidden">Colours</legend>
      {CHOICES.map(([value, label, icon]) => (
        <label key={value} title={label}>
          <input type="radio" name="theme" value={value} checked={theme === value}
            onChange={() => choose(value)} />
          <Icon name={icon} size={16} /><span class="visually-hidden">{label}</span>
        </label>
      ))}
    </fieldset>
  );
}
