import { board, boardSize, CELL, middle } from "./boards.js";
import type { Drawing } from "./scene.js";

/** A diver, the one 1 of the board, and the treasure in the far corner. */
export const deepSea: Drawing = {
  size: (obs) => boardSize(Math.sqrt(obs.length), Math.sqrt(obs.length)),
  draw(pen, obs) {
    const { blue, faint, yellow } = pen.palette, side = Math.sqrt(obs.length);
    board(pen, side, side, () => faint);
    const [x, y] = middle(obs.length - 1, side), r = CELL * 0.32;
    pen.shape([[x, y - r], [x + r, y], [x, y + r], [x - r, y]], yellow);
    obs.forEach((one, cell) => {
      if (one > 0.5) pen.disc(middle(cell, side), CELL * 0.36, blue);
    });
  },
};
