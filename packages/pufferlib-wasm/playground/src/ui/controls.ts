import type { Point, Standing } from "../protocol.js";
import { speed } from "./chart.js";
import { el, reading, short, whole } from "./dom.js";

export interface Orders {
  go(): void;
  pause(): void;
  step(): void;
  extend(): void;
  restart(): void;
}

const MARKS = {
  go: "M4 2.5v11l9-5.5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  step: "M3 2.5v11l7-5.5zM11 3h2.5v10H11z",
  restart: "M8 3a5 5 0 1 1-4.6 3l1.6.7A3.3 3.3 0 1 0 8 4.7V7L4.2 3.8 8 .8z",
};

/** Starts, pauses and steps a run, and says in numbers how it stands. */
export class Controls {
  readonly element: HTMLElement;
  #orders: Orders;
  #main = el("button", { type: "button", class: "primary", id: "train", onclick: () => this.#press() });
  #step = el("button", { type: "button", id: "step", title: "One update: a segment is collected and learnt from" }, mark("step"), "Step");
  #restart = el("button", { type: "button", id: "restart", title: "A new run with the settings of the form" }, mark("restart"), "Restart");
  #numbers = { return: reading("–"), steps: reading("0"), speed: reading("–"), episodes: reading("0"), length: reading("–"), busy: reading("0 s") };
  #meter = el("progress", { max: 1, value: 0, "aria-label": "Steps done" });
  #state = el("p", { class: "state", "aria-live": "polite" });
  #wrong = el("p", { class: "wrong", role: "alert", hidden: true });
  #standing: Standing = { steps: 0, going: false, done: false };
  /** That share the work of the run. */
  threads = 1;

  constructor(orders: Orders) {
    this.#orders = orders;
    this.#step.addEventListener("click", () => orders.step());
    this.#restart.addEventListener("click", () => orders.restart());
    const numbers = Object.entries(this.#numbers).map(([name, output]) => el("div", { class: "number", "data-number": name }, el("span", {}, TITLES[name]!), output));
    this.element = el(
      "section",
      { class: "card controls", "aria-label": "Run" },
      el("div", { class: "buttons" }, this.#main, this.#step, this.#restart),
      el("div", { class: "numbers" }, ...numbers),
      this.#meter,
      this.#state,
      this.#wrong,
    );
  }

  /** @param total steps of the whole run */
  show(standing: Standing, total: number, points: readonly Point[]): void {
    const { done, going, steps } = (this.#standing = standing), last = points.at(-1);
    const text = going ? "Pause" : done ? "Train on" : steps ? "Continue" : "Train";
    if (this.#main.textContent !== text) this.#main.replaceChildren(mark(going ? "pause" : "go"), text);
    this.#step.disabled = done;
    this.#meter.value = Math.min(1, steps / total);
    this.#numbers.steps.textContent = whole(steps);
    this.#numbers.return.textContent = last ? short(last.metrics["episode/return_mean"]!) : "–";
    this.#numbers.length.textContent = last ? short(last.metrics["episode/length_mean"]!) : "–";
    this.#numbers.episodes.textContent = last ? whole(last.metrics["episode/count"]!) : "0";
    this.#numbers.speed.textContent = points.length > 1 ? short(speed(points)) : "–";
    this.#numbers.busy.textContent = `${(last?.busy ?? 0).toFixed(1)} s`;
    const state = going ? "training" : done ? "finished" : steps ? "paused" : "ready";
    this.element.dataset.state = state;
    this.say(state === "training" && this.threads > 1 ? `Training in ${this.threads} threads that share memory; agents act with the policy as it is now.` : STATES[state]);
  }

  /** A line for people; the same line again is not announced again. */
  say(text: string): void {
    if (this.#state.textContent !== text) this.#state.textContent = text;
  }

  /** What went wrong, until something else is done; nothing: all is well. */
  warn(text: string): void {
    this.#wrong.textContent = text;
    this.#wrong.hidden = !text;
  }

  /** A policy that only plays cannot be trained. */
  enable(run: boolean): void {
    this.#main.disabled = !run;
    if (!run) this.#step.disabled = true;
  }

  #press(): void {
    this.warn("");
    if (this.#standing.going) this.#orders.pause();
    else if (this.#standing.done) this.#orders.extend();
    else this.#orders.go();
  }
}

const TITLES: Record<string, string> = { return: "Return", steps: "Steps", speed: "Steps/s", episodes: "Episodes", length: "Length", busy: "Time learning" };
const STATES = {
  training: "Training in a worker of this page; agents act with the policy as it is now.",
  finished: "The run has reached its goal or has all its steps. “Train on” goes on for as many again.",
  paused: "Paused. “Step” makes one update.",
  ready: "Ready: agents act with a policy that has learnt nothing yet.",
};

function mark(name: keyof typeof MARKS): SVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", MARKS[name]);
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return svg;
}
