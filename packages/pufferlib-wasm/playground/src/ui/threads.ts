import type { Threads } from "../protocol.js";
import { choice, el } from "./dom.js";

const START = 2; // one more than the worker itself, so that the page has processors left

/** How many threads share the work of a run; where there can be only one, why. */
export class ThreadsField {
  readonly element: HTMLElement;
  #threads: HTMLSelectElement | null = null;

  constructor({ most, obstacle }: Threads, onChange: () => void) {
    if (obstacle !== null) {
      this.element = el("p", { class: "hint", id: "threads" }, `One thread: ${obstacle}.`);
      return;
    }
    const counts = Array.from({ length: most }, (_, k) => [String(k + 1), String(k + 1)] as const);
    this.#threads = choice({ id: "threads", "aria-describedby": "threads-help", onchange: onChange }, counts);
    this.#threads.value = String(Math.min(START, most));
    const help = el("small", { id: "threads-help" }, "workers that share memory and the work of the run; its numbers are the same with any");
    this.element = el("div", { class: "field" }, el("label", { for: "threads" }, "Threads"), this.#threads, help);
  }

  get value(): number {
    return Number(this.#threads?.value ?? 1);
  }
}
