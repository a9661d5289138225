import { aspect, draw, type Spaces } from "../draw/index.js";
import type { Request, Seen } from "../protocol.js";
import { choice, el, fitted, short } from "./dom.js";
import { color, dark, onTheme } from "./theme.js";

const GAP = 8, LABEL = 20; // pixels
const COUNTS = [1, 4, 9, 16].map((n) => [String(n), n === 1 ? "1 agent" : `${n} agents`] as const);
const ACTING = [["sampled", "sampled"], ["greedy", "greedy"]] as const;
const STILL = "0";
const RATES = [[STILL, "paused"], ["5", "5 a second"], ["15", "15 a second"], ["30", "30 a second"], ["60", "60 a second"]] as const;

/** Agents that play with the policy as it is now, drawn side by side. */
export class Stage {
  readonly element: HTMLElement;
  #canvas = el("canvas", { class: "stage", role: "img", "aria-label": "Agents that play with the policy as it is now" });
  #count = choice({ "aria-label": "How many agents", onchange: () => this.watch() }, COUNTS);
  #acting = choice({ "aria-label": "How they choose", onchange: () => this.watch() }, ACTING);
  #rate = choice({ "aria-label": "How fast they are shown" }, RATES);
  #seen: Seen | null = null;
  #asked = false;
  #shown = false; // since the last choice of what is to be seen
  #due = 0;

  constructor(readonly ask: (request: Request) => void) {
    this.#count.value = "4";
    this.#rate.value = matchMedia("(prefers-reduced-motion: reduce)").matches ? STILL : "30";
    this.element = el("div", { class: "panel" }, this.#canvas, el("div", { class: "row options" }, this.#count, this.#acting, this.#rate));
    onTheme(() => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
    const tick = (time: number) => {
      requestAnimationFrame(tick);
      const still = this.#rate.value === STILL;
      if (this.#asked || time < this.#due || (still && this.#shown) || !this.element.offsetParent) return;
      this.#asked = true;
      this.#due = still ? time : Math.max(this.#due + 1000 / Number(this.#rate.value), time - 100);
      this.ask({ kind: "frame" });
    };
    requestAnimationFrame(tick);
  }

  /** A new run, or another choice of what is to be seen. */
  watch(): void {
    this.#asked = this.#shown = false;
    this.ask({ kind: "watch", numEnvs: Number(this.#count.value), stochastic: this.#acting.value === "sampled" });
  }

  show(seen: Seen): void {
    this.#asked = false;
    this.#shown = true;
    this.#seen = seen;
    this.#draw();
  }

  #draw(): void {
    const seen = this.#seen;
    if (!seen || !this.#canvas.clientWidth) return;
    const [context, width, height] = fitted(this.#canvas);
    context.clearRect(0, 0, width, height);
    const first = spacesOf(seen, 0), n = seen.agents, columns = best(n, width, height, aspect(seen.env, rowOf(seen, 0), first));
    const w = (width - GAP * (columns - 1)) / columns, rows = Math.ceil(n / columns), h = (height - GAP * (rows - 1)) / rows;
    for (let k = 0; k < n; k++) {
      context.save();
      context.translate((k % columns) * (w + GAP), Math.floor(k / columns) * (h + GAP));
      context.beginPath();
      context.roundRect(0, 0, w, h, 10);
      context.clip();
      context.fillStyle = color("--field");
      context.fillRect(0, h - LABEL, w, LABEL);
      draw(seen.env, context, w, h - LABEL, rowOf(seen, k), spacesOf(seen, k));
      label(context, `return ${short(seen.total[k]!)}`, w / 2, h - LABEL / 2);
      context.restore();
    }
  }
}

/** One agent's observation. */
export function rowOf({ obs, agents }: Seen, k: number): Float32Array {
  const size = obs.length / agents;
  return obs.subarray(k * size, (k + 1) * size);
}

/** What a drawing of one agent may know. */
export function spacesOf({ action, agents, config, reward }: Seen, k: number): Spaces {
  const size = action.length / agents;
  return { config, dark: dark(), ...(action.length ? { acted: { action: action.slice(k * size, (k + 1) * size), reward: reward[k]! } } : {}) };
}

/** The number of columns with which drawings of a shape are largest. */
function best(n: number, width: number, height: number, shape: number): number {
  const fit = (columns: number) => Math.min(width / columns, (height / Math.ceil(n / columns)) * shape);
  return Array.from({ length: n }, (_, k) => k + 1).reduce((a, b) => (fit(b) > fit(a) ? b : a));
}

function label(context: CanvasRenderingContext2D, text: string, x: number, y: number): void {
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = color("--muted");
  context.textBaseline = "middle";
  context.textAlign = "center";
  context.fillText(text, x, y);
}
