import type { Drawing } from "./scene.js";

const CELL = 80;

/** A lamp for each symbol, lit while it is shown, and below the one that asks: symbols, question. */
export const memory: Drawing = {
  size: (obs) => [CELL * (obs.length - 1), 2 * CELL],
  draw(pen, obs) {
    const { faint, green, paper, soft, yellow } = pen.palette, symbols = obs.length - 1;
    for (let k = 0; k < symbols; k++) {
      const lit = obs[k]! > 0.5, place = [CELL * (k + 0.5), CELL / 2] as const;
      pen.disc(place, 30, lit ? yellow : faint);
      if (symbols <= 26) pen.text(String.fromCharCode(65 + k), place, 26, lit ? paper : soft);
    }
    const asked = obs[symbols]! > 0.5, place = [(CELL * symbols) / 2, CELL * 1.5] as const;
    pen.disc(place, 30, asked ? green : faint);
    pen.text("?", place, 28, asked ? paper : soft);
  },
};
