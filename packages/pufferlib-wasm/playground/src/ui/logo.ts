import { el } from "./dom.js";

/** The sign of the project, in the colours of the page. */
export function logo(): HTMLElement {
  const box = el("div", { class: "logo", "aria-hidden": true });
  box.innerHTML = '<svg viewBox="0 0 32 32"><circle cx="16" cy="16" r="11"/><path d="M16 1v4M16 27v4M1 16h4M27 16h4M5.4 5.4l2.8 2.8M23.8 23.8l2.8 2.8M5.4 26.6l2.8-2.8M23.8 8.2l2.8-2.8"/><circle class="eye" cx="20" cy="13" r="2.4"/></svg>';
  return box;
}
