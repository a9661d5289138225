import type { Settings } from "pufferlib-wasm";
import type { Request, Speeds } from "../protocol.js";
import { el, whole } from "./dom.js";

const SECONDS = 2; // of training for each module
const NAMES = { simd: "128-bit vectors (SIMD)", scalar: "scalar" } as const;

/** Both modules on the same settings: what vectors gain. */
export class Versus {
  readonly element: HTMLElement;
  #bars = { simd: new Bar(NAMES.simd), scalar: new Bar(NAMES.scalar) };
  #told = el("p", { class: "told", "aria-live": "polite" }, "Trains the settings with both modules in turn and counts the steps; training pauses meanwhile.");
  #button = el("button", { type: "button", onclick: () => this.#toggle() }, "Compare");
  #running = false;

  /** @param settings of the run to be; null where they are not right */
  constructor(
    readonly ask: (request: Request) => void,
    readonly settings: () => Settings,
  ) {
    const { scalar, simd } = this.#bars;
    this.element = el("div", { class: "panel versus" }, simd.element, scalar.element, el("div", { class: "row" }, this.#button), this.#told);
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
    const most = Math.max(speeds.simd, speeds.scalar);
    for (const kind of ["simd", "scalar"] as const) this.#bars[kind].show(speeds[kind], most);
    if (!over) return;
    this.#set(false);
    this.#told.textContent = `Vectors train ${(speeds.simd / speeds.scalar).toFixed(2)} times as fast here.`;
  }

  #toggle(): void {
    if (this.#running) this.ask({ kind: "stop comparing" });
    else this.ask({ kind: "compare", settings: this.settings(), seconds: SECONDS });
    this.#set(!this.#running);
  }

  #set(running: boolean): void {
    this.#running = running;
    this.#button.textContent = running ? "Stop" : "Compare again";
    if (running) this.#told.textContent = "Both train in turn …";
  }
}

class Bar {
  readonly element: HTMLElement;
  #fill = el("div", { class: "fill" });
  #number = el("output", {}, "–");

  constructor(name: string) {
    this.element = el("div", { class: "bar" }, el("div", { class: "row" }, el("span", {}, name), this.#number), el("div", { class: "track" }, this.#fill));
  }

  show(speed: number, most: number): void {
    this.#fill.style.width = `${(100 * speed) / most}%`;
    this.#number.textContent = `${whole(speed)} steps/s`;
  }
}
