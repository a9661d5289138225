import type { Pen } from "./pen.js";

/** What a drawing may know besides the observation. */
export interface Spaces {
  /** Settings of the environment. */
  config: Record<string, any>;
  /** On a dark page? */
  dark?: boolean;
  /** What was done last and what came of it, where somebody acted. */
  acted?: { action: readonly number[]; reward: number };
}

/** A drawing in units of its own, which is scaled to whatever room there is. */
export interface Drawing {
  /** Width and height. */
  size(obs: Float32Array, spaces: Spaces): [width: number, height: number];
  draw(pen: Pen, obs: Float32Array, spaces: Spaces): void;
}
