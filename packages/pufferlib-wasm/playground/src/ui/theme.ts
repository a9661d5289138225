import { el } from "./dom.js";

const KEY = "puffer-theme";
const MODES = ["auto", "light", "dark"] as const;
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners: (() => void)[] = [];
const colors = new Map<string, string>(); // resolved, until the theme changes

/** Is the page dark now? */
export function dark(): boolean {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "dark" || (chosen !== "light" && system.matches);
}

/** A colour of the style sheet, such as `--accent`, as a canvas takes it. */
export function color(name: string, percent = 100): string {
  const key = `${name} ${percent}`, known = colors.get(key);
  if (known) return known;
  const probe = el("span", { style: `color: color-mix(in srgb, var(${name}) ${percent}%, transparent)`, hidden: true });
  document.body.append(probe);
  const { color: resolved } = getComputedStyle(probe);
  probe.remove();
  colors.set(key, resolved);
  return resolved;
}

/** Calls back whenever colours have changed. */
export function onTheme(listener: () => void): void {
  listeners.push(listener);
}

/** The button that goes from the system's colours to light to dark; the choice is kept where the browser keeps such things. */
export function themeButton(): HTMLButtonElement {
  const button = el("button", { type: "button", class: "quiet", onclick: () => show(MODES[(MODES.indexOf(mode) + 1) % MODES.length]!) });
  let mode: (typeof MODES)[number] = "auto";
  const show = (chosen: typeof mode) => {
    mode = chosen;
    document.documentElement.dataset.theme = mode;
    button.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[mode];
    button.setAttribute("aria-label", `Colours: ${mode}`);
    try {
      localStorage.setItem(KEY, mode);
    } catch {
      // a browser that stores nothing: the choice ends with the page
    }
    colors.clear();
    for (const listener of listeners) listener();
  };
  system.addEventListener("change", () => show(mode));
  let kept: string | null = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // as above
  }
  show(MODES.find((one) => one === kept) ?? "auto");
  return button;
}
