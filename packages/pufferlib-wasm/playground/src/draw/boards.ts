import type { Pen } from "./pen.js";

export const CELL = 32;

/** Width and height of a board, with a margin around it. */
export const boardSize = (rows: number, columns: number): [number, number] => [(columns + 1) * CELL, (rows + 1) * CELL];


/** Cells of a board, row by row, each in the colour that `color` says. */
export function board(pen: Pen, rows: number, columns: number, color: (cell: number) => string): void {
  for (let cell = 0; cell < rows * columns; cell++) {
    const [x, y] = middle(cell, columns);
    pen.box(x - CELL / 2 + 1.5, y - CELL / 2 + 1.5, CELL - 3, CELL - 3, color(cell), 5);
  }
}

/** The middle of a cell. */
export function middle(cell: number, columns: number): [number, number] {
  return [((cell % columns) + 1) * CELL, (Math.floor(cell / columns) + 1) * CELL];
}
