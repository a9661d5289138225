import type { Settings } from "pufferlib-wasm";
import type { Request, Side, Speeds, Threads } from "../protocol.js";
import { el, reading, whole } from "./dom.js";

const SECONDS = 2; // of training for each
const THREADS = 2;

/** All modules on the same settings: what vectors gain, and threads where there can be some. */
export class Versus {
  readonly element: HTMLElement;
  #bars: Partial<Record<Side, Bar>> = { simd: new Bar("128-bit vectors (SIMD)"), scalar: new Bar("scalar") };
  #told = el("p", { class: "told", "aria-live": "polite" }, "Trains the settings with each in turn and counts the steps; training pauses meanwhile.");
  #button = el("button", { type: "button", onclick: () => this.#toggle() }, "Compare");
  #running = false;
  #threads: number;

  /** @param settings of the run to be; null where they are not right */
  constructor(
    readonly ask: (request: Request) => void,
    readonly settings: () => Settings,
    { most }: Threads,
  ) {
    this.#threads = Math.min(THREADS, most);
    if (this.#threads > 1) this.#bars = { threads: new Bar(`${this.#threads} threads with vectors`), ...this.#bars };
    const bars = Object.values(this.#bars).map(({ element }) => element);
    this.element = el("div", { class: "panel versus" }, ...bars, el("div", { class: "row" }, this.#button), this.#told);
  }

  /** Where the browser lacks vectors there is nothing to compare. */
  disable(): void {
    this.#button.disabled = true;
    this.#told.textContent = "This browser runs no 128-bit vectors of WebAssembly, so that only the scalar module runs.";
  }

  stop(): void {
    if (this.#running) this.#toggle();
  }

  show(speeds: Speeds, over: boolean): void {
    if (!this.#running) return;
    const most = Math.max(...Object.values(speeds));
    for (const [side, speed] of Object.entries(speeds)) this.#bars[side as Side]?.show(speed, most);
    if (!over) return;
    this.#set(false);
    const { scalar = NaN, simd = NaN, threads } = speeds, times = (a: number, b: number) => (a / b).toFixed(2);
    const more = threads === undefined ? "" : `, and ${this.#threads} threads ${times(threads, simd)} times as fast as one`;
    this.#told.textContent = `Vectors train ${times(simd, scalar)} times as fast here${more}.`;
  }

  #toggle(): void {
    if (this.#running) this.ask({ kind: "stop comparing" });
    else this.ask({ kind: "compare", settings: this.settings(), threads: this.#threads, seconds: SECONDS });
    this.#set(!this.#running);
  }

  #set(running: boolean): void {
    this.#running = running;
    this.#button.textContent = running ? "Stop" : "Compare again";
    if (running) this.#told.textContent = "They train in turn …";
  }
}

class Bar {
  readonly element: HTMLElement;
  #fill = el("div", { class: "fill" });
  #number = reading("–");

  constructor(name: string) {
    this.element = el("div", { class: "bar" }, el("div", { class: "row" }, el("span", {}, name), this.#number), el("div", { class: "track" }, this.#fill));
  }

  show(speed: number, most: number): void {
    this.#fill.style.width = `${(100 * speed) / most}%`;
    this.#number.textContent = `${whole(speed)} steps/s`;
  }
}
