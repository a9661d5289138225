"""Pictures of boards of cells, for environments whose observation is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from pufferlib_core.traits import ByteArray, FloatArray

from pufferlib_envs.render import Canvas, Color

CELL = 32  # pixels


def board_ansi(rows: int, columns: int, signs: Mapping[int, str]) -> Callable[[FloatArray], str]:
    """A text renderer: one character for each cell, by the value of its number; a dot for 0."""

    def draw(obs: FloatArray) -> str:
        cells = np.rint(obs).astype(int).reshape(rows, columns)
        return "\n".join("".join(signs.get(value, ".") for value in row) for row in cells)

    return draw


def board_rgb(rows: int, columns: int, colors: Mapping[int, Color]) -> Callable[[FloatArray], ByteArray]:
    """A picture renderer: grey cells, and a coloured one for each value that has a colour."""

    def draw(obs: FloatArray) -> ByteArray:
        canvas = Canvas(columns * CELL, rows * CELL)
        for (row, column), value in np.ndenumerate(np.rint(obs).astype(int).reshape(rows, columns)):
            corner = (column * CELL + 1.0, row * CELL + 1.0)
            canvas.box(corner, (corner[0] + CELL - 2, corner[1] + CELL - 2), colors.get(int(value), (232, 234, 237)))
        return canvas.pixels

    return draw
