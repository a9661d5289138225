import { board, boardSize, CELL, middle } from "./boards.js";
import type { Drawing } from "./scene.js";

/** A ball that falls and the paddle in the bottom row, as a board of 0 and 1: (rows, columns). */
export const catch_: Drawing = {
  size: (_, { config }) => boardSize(config.rows, config.columns),
  draw(pen, obs, { config: { columns, rows } }) {
    const { blue, faint, red } = pen.palette, bottom = (rows - 1) * columns;
    board(pen, rows, columns, (cell) => (cell >= bottom && obs[cell]! > 0.5 ? blue : faint));
    obs.forEach((x, cell) => {
      if (x > 0.5 && cell < bottom) pen.disc(middle(cell, columns), CELL * 0.36, red);
    });
  },
};
