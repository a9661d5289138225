import type { Puffer, Run, Settings } from "pufferlib-wasm";
import type { Kind } from "./module.js";
import type { Report, Speeds } from "./protocol.js";

const TURN = 150; // milliseconds; short, so that both see the same load of the machine

interface Side {
  kind: Kind;
  puffer: Puffer;
  run: Run;
  steps: number;
  seconds: number;
}

/** Modules that train the same settings, always the one that has had less time, and how fast each does. */
export class Comparison {
  #sides: Side[];
  #over = false;

  constructor(
    readonly puffers: Record<Kind, Puffer>,
    readonly settings: Settings,
    readonly seconds: number,
    readonly tell: (report: Report) => void,
  ) {
    this.#sides = (Object.keys(puffers) as Kind[]).map((kind) => {
      const run = puffers[kind].train(settings);
      run.update(); // its memory is touched, its code compiled
      return { kind, puffer: puffers[kind], run, steps: 0, seconds: 0 };
    });
    setTimeout(() => this.#turn());
  }

  stop(): void {
    this.#over = true;
  }

  #turn(): void {
    if (this.#over) return;
    const side = this.#sides.reduce((a, b) => (b.seconds < a.seconds ? b : a));
    const begin = performance.now(), before = side.run.steps;
    while (performance.now() - begin < TURN && !side.run.done) side.run.update();
    side.seconds += (performance.now() - begin) / 1000;
    side.steps += side.run.steps - before;
    if (side.run.done) side.run = side.puffer.train(this.settings);
    this.#over = this.#sides.every(({ seconds }) => seconds >= this.seconds);
    const speeds = Object.fromEntries(this.#sides.map(({ kind, seconds, steps }) => [kind, seconds ? steps / seconds : 0])) as Speeds;
    this.tell({ kind: "compared", speeds, over: this.#over });
    setTimeout(() => this.#turn());
  }
}
