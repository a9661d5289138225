import type { Puffer, Run } from "pufferlib-wasm";
import type { Means } from "./module.js";
import type { Point, Report, Seen, Standing } from "./protocol.js";
import { Agents } from "./watching.js";

const SLICE = 12; // milliseconds of training between two looks at the messages
const TELL = 50; // milliseconds between two reports of progress

/** A run in slices, and the agents that are seen with its policy. */
export class Training {
  going = false;
  #points: Point[] = [];
  #told = 0;
  #agents: Agents | undefined;
  #learnt = false; // since they got their parameters
  #next = new MessageChannel(); // unlike a timer, it does not wait

  constructor(
    readonly run: Run,
    /** What made it; its workers end with the run. */
    readonly puffer: Puffer,
    readonly means: Means,
    readonly tell: (report: Report) => void,
    /** Seconds spent in updates, of the run that this one continues too. */
    public busy = 0,
  ) {
    this.#next.port1.onmessage = () => this.#slice();
  }

  get standing(): Standing {
    return { steps: this.run.steps, going: this.going, done: this.run.done };
  }

  go(): void {
    if (this.going) return;
    this.going = true;
    this.#slice();
  }

  pause(): void {
    this.going = false;
    this.#report();
  }

  /** Nothing more is to be learnt: its workers end, and what it does yet it does alone. */
  end(): void {
    this.going = false;
    void this.puffer.close();
  }

  step(): void {
    this.going = false;
    if (!this.run.done) this.#update();
    this.#report();
  }

  #slice(): void {
    if (!this.going) return; // paused, or another run has taken its place
    const begin = performance.now();
    try {
      while (this.going && performance.now() - begin < SLICE) {
        this.#update();
      }
    } catch (error) {
      this.end(); // it may be a worker that has failed: the run can go on alone
      this.tell({ kind: "error", of: "go", message: (error as Error).message });
    }
    if (!this.going || performance.now() - this.#told > TELL) this.#report();
    if (this.going) this.#next.port2.postMessage(null);
  }

  #update(): void {
    const begin = performance.now(), metrics = this.run.update();
    this.busy += (performance.now() - begin) / 1000;
    this.#points.push({ steps: this.run.steps, busy: this.busy, metrics });
    this.#learnt = true;
    if (this.run.done) this.end();
  }

  #report(): void {
    this.tell({ kind: "progress", points: this.#points, standing: this.standing });
    this.#points = [];
    this.#told = performance.now();
  }

  watch(numEnvs: number, stochastic: boolean): void {
    this.#agents = new Agents(this.run.player({ numEnvs, stochastic }));
    this.#learnt = false;
  }

  /** The agents take a step, with the policy as it is now. */
  frame(): Seen | null {
    if (this.#learnt) this.#agents?.player.load(this.run.tensors());
    this.#learnt = false;
    return this.#agents?.step() ?? null;
  }
}
