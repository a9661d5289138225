import { draw } from "../draw/index.js";
import type { Keys, Request, Seen } from "../protocol.js";
import { el, fitted, short } from "./dom.js";
import { rowOf, spacesOf } from "./stage.js";
import { onTheme } from "./theme.js";

const ARROWS: Record<string, string> = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
const SIGNS: Record<string, string> = { left: "←", right: "→", up: "↑", down: "↓" };
const PAD = ["q", "up", "e", "left", "right", "z", "down", "c"]; // as they lie around a hand
const PERIOD = 50; // milliseconds between steps of an environment that does not wait, as `puffer demo --play` has it

/** A person plays, with the keys of `puffer demo ENV --play` or with buttons for them. */
export class Hand {
  readonly element: HTMLElement;
  #canvas = el("canvas", { class: "stage", tabindex: 0, role: "application", "aria-label": "The environment that you play: click or focus it, then use the keys" });
  #buttons = el("div", { class: "row keys" });
  #told = el("p", { class: "told", "aria-live": "polite" });
  #keys: Keys = null;
  #held: number | null = null;
  #seen: Seen | null = null;
  #best = -Infinity;
  #episodes = 0;
  #timer = 0;

  constructor(readonly ask: (request: Request) => void) {
    this.element = el("div", { class: "panel" }, this.#canvas, this.#buttons, this.#told);
    this.element.addEventListener("keydown", (event) => this.#key(event, true));
    this.element.addEventListener("keyup", (event) => this.#key(event, false));
    this.#canvas.addEventListener("blur", () => (this.#held = null));
    onTheme(() => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
  }

  /** Asks for a new game. */
  begin(env: string, config: Record<string, any>): void {
    this.end();
    this.ask({ kind: "play", env, config, seed: Date.now() % 2 ** 31 });
  }

  /** The game that was asked for is there. */
  ready(keys: Keys, seen: Seen): void {
    this.#keys = keys;
    this.#seen = seen;
    this.#best = -Infinity;
    this.#episodes = 0;
    const names = Object.keys(keys?.actions ?? {}).sort((a, b) => PAD.indexOf(a) - PAD.indexOf(b) || (a < b ? -1 : 1));
    this.#buttons.classList.toggle("pad", names.includes("up"));
    this.#buttons.replaceChildren(...names.map((key) => this.#button(key, keys!.actions[key]!)));
    const how = keys?.idle == null ? "It waits for you: each key is one step." : "It runs from your first key on: hold a key to act.";
    this.#told.textContent = keys ? `Keys: ${names.map((key) => SIGNS[key] ?? key).join(" ")}. ${how}` : "This environment cannot be played with keys.";
    this.#draw();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#held = null;
  }

  show(seen: Seen, ended: boolean): void {
    const total = seen.total[0]!;
    this.#seen = seen;
    if (ended) {
      this.#episodes++;
      this.#best = Math.max(this.#best, total);
    }
    const past = this.#episodes ? ` · ${this.#episodes} ${this.#episodes === 1 ? "episode" : "episodes"}, best ${short(this.#best)}` : "";
    this.#told.textContent = `${ended ? "Episode over: return" : "Return so far"} ${short(total)}${past}`;
    this.#draw();
  }

  #button(key: string, action: number): HTMLElement {
    const sign = SIGNS[key] ?? key;
    const press = (event: Event) => {
      event.preventDefault();
      this.#press(action);
    };
    const button = el("button", { type: "button", class: "key", "aria-label": `Key ${key}`, onpointerdown: press });
    // A click without a pointer comes from the keyboard.
    button.addEventListener("click", (event) => event.detail === 0 && (this.#press(action), (this.#held = null)));
    for (const name of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(name, () => (this.#held = null));
    button.append(sign);
    return button;
  }

  #key(event: KeyboardEvent, down: boolean): void {
    const action = this.#keys?.actions[ARROWS[event.key] ?? event.key.toLowerCase()];
    if (action === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (down) this.#press(action);
    else if (this.#held === action) this.#held = null;
  }

  #press(action: number): void {
    this.#held = action;
    const idle = this.#keys?.idle ?? null;
    if (idle === null) this.ask({ kind: "act", action });
    else this.#timer ||= window.setInterval(() => this.#run(idle), PERIOD);
  }

  #run(idle: number): void {
    if (this.element.offsetParent) this.ask({ kind: "act", action: this.#held ?? idle });
    else this.end();
  }

  #draw(): void {
    if (!this.#seen || !this.#canvas.clientWidth) return;
    const [context, width, height] = fitted(this.#canvas);
    draw(this.#seen.env, context, width, height, rowOf(this.#seen, 0), spacesOf(this.#seen, 0));
  }
}
