import type { Pen } from "./pen.js";

export const CELL = 32;

/** Cells of a board, row by row, each in the colour that `color` says. */
export function board(pen: Pen, rows: number, columns: number, color: (cell: number) => string): void {
  for (let cell = 0; cell < rows * columns; cell++) {
    const x = (cell % columns) * CELL, y = Math.floor(cell / columns) * CELL;
    pen.box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, color(cell), 5);
  }
}

/** The middle of a cell. */
export function middle(cell: number, columns: number): [number, number] {
  return [((cell % columns) + 0.5) * CELL, (Math.floor(cell / columns) + 0.5) * CELL];
}
