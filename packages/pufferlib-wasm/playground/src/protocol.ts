import type { Catalogue, Settings } from "pufferlib-wasm";
import type { Kind, Means } from "./module.js";

/** What the page asks of the worker; each is answered at once, between two updates of the run. */
export type Request =
  /** Load the modules that lie in the folder `base`. */
  | { kind: "open"; base: string }
  /** A new run, which waits. */
  | { kind: "prepare"; settings: Settings; means: Means }
  /** The run of a checkpoint, which waits: the files of its folder, or a zip of them. */
  | { kind: "resume"; files: [name: string, bytes: Uint8Array][]; means: Means }
  | { kind: "go" }
  | { kind: "pause" }
  /** One update. */
  | { kind: "step" }
  /** A run that is done goes on, for as many steps again and to no goal. */
  | { kind: "extend" }
  /** From now on so many agents are to be seen. */
  | { kind: "watch"; numEnvs: number; stochastic: boolean }
  /** They take a step. */
  | { kind: "frame" }
  | { kind: "evaluate"; episodes: number }
  | { kind: "save" }
  /** A person plays: a new environment, which has not begun. */
  | { kind: "play"; env: string; config: Record<string, any>; seed: number }
  | { kind: "act"; action: number }
  /** All modules train these settings, in turn; `threads` above 1: so many threads too. */
  | { kind: "compare"; settings: Settings; threads: number; seconds: number }
  | { kind: "stop comparing" };

/** One update. */
export interface Point {
  steps: number;
  /** Time spent in updates so far, in seconds. */
  busy: number;
  metrics: Record<string, number>;
}

/** How a run stands. */
export interface Standing {
  steps: number;
  going: boolean;
  done: boolean;
}

/** What is compared: one thread of each module, and several threads where there can be. */
export type Side = Kind | "threads";

/** Steps a second. */
export type Speeds = Partial<Record<Side, number>>;

/** The most threads that a run can have; with one, `obstacle` says why there are no more. */
export interface Threads {
  most: number;
  obstacle: string | null;
}

/** What the worker tells the page. */
export type Report =
  | { kind: "ready"; catalogue: Catalogue; options: Record<string, Options>; modules: Kind[]; threads: Threads }
  /** There is a new run, or with `settings.env` a policy that only plays, for the reason that `plays` gives. */
  | { kind: "run"; settings: Settings; standing: Standing; threads: number; resumed: boolean; plays: string | null }
  | { kind: "progress"; points: Point[]; standing: Standing }
  | { kind: "frame"; seen: Seen }
  | { kind: "evaluated"; episodes: number; mean: number; deviation: number; length: number }
  | { kind: "saved"; name: string; env: string; steps: number; zip: Uint8Array<ArrayBuffer> }
  /** A game that has not begun; `keys` are those whose actions there are with these settings. */
  | { kind: "playing"; keys: Keys; seen: Seen }
  | { kind: "played"; seen: Seen; ended: boolean }
  | { kind: "compared"; speeds: Speeds; over: boolean }
  | { kind: "error"; of: Request["kind"]; message: string };

/** Agents after a step; rows of `obs` and `action` belong to them in turn. */
export interface Seen {
  env: string;
  config: Record<string, any>;
  agents: number;
  obs: Float32Array;
  /** Empty before the first step. */
  action: number[];
  reward: number[];
  /** Return so far of each episode; of the one that has just ended, where it has. */
  total: number[];
}

/** How a person plays: the action of each key, and the one while none is pressed; null: the environment waits, or has no keys. */
export type Keys = Catalogue["environments"][string]["keys"];

/** What may be chosen of a section, as `Puffer.options` gives it. */
export type Options = Record<string, Record<string, Choice>>;
export type Choice = Catalogue["sections"][string][string] & { start: any };
