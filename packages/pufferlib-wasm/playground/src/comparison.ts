import type { Puffer, Run, Settings } from "pufferlib-wasm";
import type { Report, Side, Speeds } from "./protocol.js";

const TURN = 150; // milliseconds; short, so that all see the same load of the machine

interface Turns {
  side: Side;
  puffer: Puffer;
  run: Run;
  steps: number;
  seconds: number;
}

/** Modules and threads that train the same settings, always the one that has had less time, and how fast each does. */
export class Comparison {
  #sides: Turns[];
  #over = false;

  constructor(
    readonly puffers: Partial<Record<Side, Puffer>>,
    readonly settings: Settings,
    readonly seconds: number,
    readonly tell: (report: Report) => void,
  ) {
    this.#sides = (Object.entries(puffers) as [Side, Puffer][]).map(([side, puffer]) => {
      const run = puffer.train(settings);
      run.update(); // its memory is touched, its code compiled
      return { side, puffer, run, steps: 0, seconds: 0 };
    });
    setTimeout(() => this.#turn());
  }

  stop(): void {
    this.#over = true;
    void this.puffers.threads?.close();
  }

  #turn(): void {
    if (this.#over) return;
    const side = this.#sides.reduce((a, b) => (b.seconds < a.seconds ? b : a));
    const begin = performance.now(), before = side.run.steps;
    while (performance.now() - begin < TURN && !side.run.done) side.run.update();
    side.seconds += (performance.now() - begin) / 1000;
    side.steps += side.run.steps - before;
    if (side.run.done) side.run = side.puffer.train(this.settings);
    const speeds = Object.fromEntries(this.#sides.map(({ seconds, side: name, steps }) => [name, seconds ? steps / seconds : 0])) as Speeds;
    if (this.#sides.every(({ seconds }) => seconds >= this.seconds)) this.stop();
    this.tell({ kind: "compared", speeds, over: this.#over });
    setTimeout(() => this.#turn());
  }
}
