import { board, boardSize, CELL, middle } from "./boards.js";
import type { Drawing } from "./scene.js";

/** A board with the player (-1) and the target (1). */
export const squared: Drawing = {
  size: (obs) => boardSize(Math.sqrt(obs.length), Math.sqrt(obs.length)),
  draw(pen, obs) {
    const { blue, faint, green } = pen.palette, side = Math.sqrt(obs.length);
    board(pen, side, side, (cell) => (obs[cell]! > 0.5 ? green : faint));
    obs.forEach((x, cell) => {
      if (x < -0.5) pen.disc(middle(cell, side), CELL * 0.36, blue);
    });
  },
};
