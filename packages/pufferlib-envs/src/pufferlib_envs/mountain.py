"""The hill of both mountain cars, drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from pufferlib_core.traits import ByteArray, FloatArray

from pufferlib_envs.render import Canvas

LEFT, RIGHT = -1.2, 0.6


def _height(x: float) -> float:
    return math.sin(3 * x) * 0.45 + 0.55


def mountain_ansi(goal: float) -> Callable[[FloatArray], str]:
    """A text renderer: the hill in ten lines, the car on it, the flag at the goal, and the numbers."""

    def draw(obs: FloatArray) -> str:
        width, lines = 61, 10
        canvas = [[" "] * width for _ in range(lines)]
        for column in range(width):
            canvas[lines - 1 - round(_height(LEFT + (RIGHT - LEFT) * column / (width - 1)) * (lines - 1))][column] = "."
        for sign, x in (("F", goal), ("o", float(obs[0]))):
            column = round((x - LEFT) / (RIGHT - LEFT) * (width - 1))
            canvas[lines - 1 - round(_height(x) * (lines - 1))][max(0, min(width - 1, column))] = sign
        picture = "\n".join("".join(line) for line in canvas)
        return f"{picture}\nposition {float(obs[0]):+.3f}   velocity {float(obs[1]):+.4f}"

    return draw


def mountain_rgb(goal: float) -> Callable[[FloatArray], ByteArray]:
    """A picture renderer, 400 x 600: the hill, the car, the flag."""

    def draw(obs: FloatArray) -> ByteArray:
        canvas = Canvas(600, 400)
        scale = 600 / (RIGHT - LEFT)

        def at(x: float, above: float = 0.0) -> tuple[float, float]:
            return (x - LEFT) * scale, 390 - _height(x) * 330 - above

        steps = 36
        points = [at(LEFT + (RIGHT - LEFT) * k / steps) for k in range(steps + 1)]
        for start, end in itertools.pairwise(points):
            canvas.line(start, end, 2, (0, 0, 0))
        canvas.line(at(goal), at(goal, 50), 2, (0, 0, 0))
        pole = at(goal, 50)
        canvas.box((pole[0], pole[1]), (pole[0] + 25, pole[1] + 14), (204, 204, 0))
        canvas.disc(at(float(obs[0]), 12), 12, (66, 133, 244))
        return canvas.pixels

    return draw
