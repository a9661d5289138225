import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Point } from "../protocol.js";
import { choice, el, reading, short, whole } from "./dom.js";
import { color, onTheme } from "./theme.js";

const FIRST = "episode/return_mean";
const TITLES: Record<string, string> = { [FIRST]: "mean return of the last 100 episodes", speed: "steps per second" };

/** A curve over the steps of a run: the return, or any other metric of the updates. */
export class Chart {
  readonly element: HTMLElement;
  #points: Point[] = [];
  #goal: number | null = null;
  #metric: HTMLSelectElement;
  #readout = reading("", { class: "readout" });
  #empty = el("p", { class: "hint empty" }, "The curve begins with the first update.");
  #box = el("div", { class: "plot", role: "img" }, this.#empty);
  #plot: uPlot | undefined;
  #waiting = false;

  constructor() {
    this.#metric = choice({ id: "metric", onchange: () => this.#build() }, [[FIRST, "episode/return_mean"]]);
    const head = el("div", { class: "row" }, el("h2", {}, "Curve"), this.#readout, el("label", { class: "inline" }, "of ", this.#metric));
    this.element = el("section", { class: "card chart", "aria-label": "Curve" }, head, this.#box);
    onTheme(() => this.#build());
    new ResizeObserver(() => this.#plot?.setSize(this.#size)).observe(this.#box);
  }

  /** Another run. @param goal the return at which it stops */
  clear(goal: number | null): void {
    this.#points = [];
    this.#goal = goal;
    this.#empty.hidden = false;
    this.#build();
  }

  add(points: Point[]): void {
    if (!points.length) return;
    if (this.#metric.options.length === 1) {
      const names = ["speed", ...Object.keys(points[0]!.metrics).filter((name) => name !== FIRST)];
      this.#metric.append(...names.map((name) => el("option", { value: name }, name)));
    }
    this.#points.push(...points);
    this.#empty.hidden = true;
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#plot?.setData(this.#data);
      this.#describe();
    });
  }

  get #size() {
    return { width: this.#box.clientWidth, height: this.#box.clientHeight };
  }

  get #data(): uPlot.AlignedData {
    const metric = this.#metric.value, points = this.#points;
    const y = points.map((point, k) => {
      const x = metric === "speed" ? speed(points, k) : point.metrics[metric];
      return x !== undefined && Number.isFinite(x) ? x : null;
    });
    const goal = metric === FIRST ? this.#goal : null;
    return [points.map((point) => point.steps), y, points.map(() => goal)];
  }

  #build(): void {
    this.#plot?.destroy();
    const font = "12px system-ui, sans-serif", grid = { stroke: color("--line"), width: 1 }, ticks = { show: false };
    const axis = { stroke: color("--muted"), font, grid, ticks };
    const points = { show: false };
    const series: uPlot.Series[] = [
      {},
      { stroke: color("--accent"), width: 2, fill: color("--accent", 12), fillTo: (plot) => plot.scales.y!.min ?? 0, points: { show: (plot) => plot.data[0].length < 10 } },
      { stroke: color("--good"), width: 1.5, dash: [6, 5], points },
    ];
    const steps = { ...axis, values: (_: uPlot, all: number[]) => all.map(short) };
    const options: uPlot.Options = {
      ...this.#size,
      scales: { x: { time: false } },
      axes: [steps, { ...axis, size: 52 }],
      series,
      legend: { show: false },
      cursor: { y: false },
      hooks: { setCursor: [({ cursor }) => this.#read(cursor.idx ?? null)] },
    };
    this.#plot = new uPlot(options, this.#data, this.#box);
    this.#describe();
  }

  /** The numbers under the pointer. */
  #read(index: number | null): void {
    const y = index === null ? null : this.#data[1][index];
    this.#readout.textContent = y == null ? "" : `${short(y)} after ${whole(this.#points[index!]!.steps)} steps`;
  }

  #describe(): void {
    const metric = this.#metric.value, last = this.#data[1].at(-1);
    this.#box.setAttribute("aria-label", `${TITLES[metric] ?? metric}: ${last == null ? "nothing yet" : short(last)}`);
  }
}

/** Steps a second up to a point, over about the last second of training. */
export function speed(points: readonly Point[], at = points.length - 1): number {
  const end = points[at];
  if (!end) return NaN;
  let from = at;
  while (from > 0 && end.busy - points[from]!.busy < 1) from--;
  const begin = points[from]!;
  return (end.steps - begin.steps) / (end.busy - begin.busy);
}
