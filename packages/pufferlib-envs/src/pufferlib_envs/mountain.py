"""The hill of both mountain cars, drawn."""

from __future__ import annotations

import itertools
import math

from pufferlib_core.traits import ByteArray, FloatArray

LEFT, RIGHT, GOAL = -1.2, 0.6, 0.5


def _height(x: float) -> float:
    return math.sin(3 * x) * 0.45 + 0.55


def render_ansi(obs: FloatArray) -> str:
    """The hill in ten lines, the car on it, the flag on the right, and the numbers."""
    width, lines = 61, 10
    canvas = [[" "] * width for _ in range(lines)]
    for column in range(width):
        canvas[lines - 1 - round(_height(LEFT + (RIGHT - LEFT) * column / (width - 1)) * (lines - 1))][column] = "."
    for sign, x in (("F", GOAL), ("o", float(obs[0]))):
        column = round((x - LEFT) / (RIGHT - LEFT) * (width - 1))
        canvas[lines - 1 - round(_height(x) * (lines - 1))][max(0, min(width - 1, column))] = sign
    picture = "\n".join("".join(line) for line in canvas)
    return f"{picture}\nposition {float(obs[0]):+.3f}   velocity {float(obs[1]):+.4f}"


def render_rgb(obs: FloatArray) -> ByteArray:
    """400 x 600 picture: the hill, the car, the flag."""
    from pufferlib_envs.render import Canvas

    canvas = Canvas(600, 400)
    scale = 600 / (RIGHT - LEFT)

    def at(x: float, above: float = 0.0) -> tuple[float, float]:
        return (x - LEFT) * scale, 390 - _height(x) * 330 - above

    steps = 36
    points = [at(LEFT + (RIGHT - LEFT) * k / steps) for k in range(steps + 1)]
    for start, end in itertools.pairwise(points):
        canvas.line(start, end, 2, (0, 0, 0))
    canvas.line(at(GOAL), at(GOAL, 50), 2, (0, 0, 0))
    pole = at(GOAL, 50)
    canvas.box((pole[0], pole[1]), (pole[0] + 25, pole[1] + 14), (204, 204, 0))
    canvas.disc(at(float(obs[0]), 12), 12, (66, 133, 244))
    return canvas.pixels
