"""Anti-aliased shapes on a white canvas, with numpy alone."""

from __future__ import annotations

import numpy as np
from pufferlib_core.traits import ByteArray, FloatArray

Point = tuple[float, float]
Color = tuple[int, int, int]


class Canvas:
    """A picture; x to the right, y down, in pixels."""

    def __init__(self, width: int, height: int) -> None:
        self._y, self._x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
        self._rgb = np.full((height, width, 3), 255.0, np.float32)

    @property
    def pixels(self) -> ByteArray:
        """uint8 (height, width, 3)."""
        return np.rint(self._rgb).astype(np.uint8)

    def line(self, start: Point, end: Point, width: float, color: Color) -> None:
        """A straight line with round ends."""
        part = self._around(start, end, width / 2)
        x, y = self._x[part], self._y[part]
        ax, ay = end[0] - start[0], end[1] - start[1]
        length = max(ax * ax + ay * ay, 1e-9)
        along = np.clip(((x - start[0]) * ax + (y - start[1]) * ay) / length, 0.0, 1.0)
        self._paint(part, np.hypot(x - start[0] - along * ax, y - start[1] - along * ay) - width / 2, color)

    def disc(self, center: Point, radius: float, color: Color) -> None:
        """A filled circle."""
        part = self._around(center, center, radius)
        self._paint(part, np.hypot(self._x[part] - center[0], self._y[part] - center[1]) - radius, color)

    def box(self, corner: Point, opposite: Point, color: Color) -> None:
        """A filled rectangle."""
        part = self._around(corner, opposite, 0.0)
        x, y = self._x[part], self._y[part]
        dx = np.maximum(corner[0] - x, x - opposite[0])
        dy = np.maximum(corner[1] - y, y - opposite[1])
        self._paint(part, np.maximum(dx, dy), color)

    def _around(self, a: Point, b: Point, margin: float) -> tuple[slice, slice]:
        """The rows and columns that a shape between two points can touch: the rest of a picture costs nothing."""
        height, width = self._x.shape
        (left, right), (top, bottom) = ((min(pair) - margin - 1, max(pair) + margin + 2) for pair in zip(a, b, strict=True))
        bounds = np.clip([top, bottom, left, right], 0, [height, height, width, width]).astype(int).tolist()
        return slice(*bounds[:2]), slice(*bounds[2:])

    def _paint(self, part: tuple[slice, slice], distance: FloatArray, color: Color) -> None:
        """Covers what lies inside (distance below 0); the edge fades over one pixel."""
        cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
        self._rgb[part] = self._rgb[part] * (1 - cover) + np.asarray(color, np.float32) * cover
