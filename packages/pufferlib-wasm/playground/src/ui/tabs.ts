import { el } from "./dom.js";

/** Panels of which one is to be seen: chosen by click, or by arrow keys as a list of tabs has it. */
export class Tabs {
  readonly element: HTMLElement;
  #tabs: HTMLButtonElement[];

  /** @param panels by title; `onShow` is called when one is chosen */
  constructor(
    label: string,
    readonly panels: Record<string, HTMLElement>,
    readonly onShow: (title: string) => void,
  ) {
    const titles = Object.keys(panels);
    this.#tabs = titles.map((title) => {
      const id = title.toLowerCase().replaceAll(" ", "-"), panel = panels[title]!;
      Object.assign(panel, { id: `panel-${id}`, role: "tabpanel" });
      panel.setAttribute("aria-labelledby", `tab-${id}`);
      return el("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, onclick: () => this.show(title) }, title);
    });
    const list = el("div", { class: "tabs", role: "tablist", "aria-label": label }, ...this.#tabs);
    list.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key], from = this.#tabs.indexOf(event.target as HTMLButtonElement);
      if (!move || from < 0) return;
      const to = (from + move + titles.length) % titles.length;
      this.show(titles[to]!);
      this.#tabs[to]!.focus();
    });
    this.element = el("section", { class: "card stages", "aria-label": label }, list, ...Object.values(panels));
    this.show(titles[0]!);
  }

  show(title: string): void {
    Object.entries(this.panels).forEach(([name, panel], k) => {
      const chosen = name === title, tab = this.#tabs[k]!;
      panel.hidden = !chosen;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    });
    this.onShow(title);
  }
}
