"""The rules of csrc/squared.h as functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pufferlib_core.ops.noise import below

from pufferlib_envs.squared import SquaredConfig

ROWS, COLUMNS = (-1, -1, 0, 1, 1, 1, 0, -1), (0, 1, 1, 1, 0, -1, -1, -1)  # clockwise from up


class Rules:
    """Squared for devices; see `DeviceEnv`."""

    fields = (("row", "i4"), ("column", "i4"), ("target_row", "i4"), ("target_column", "i4"))
    draws = 1

    def __init__(self, config: SquaredConfig) -> None:
        self._distance = config.distance
        self._side = 2 * config.distance + 1

    def reset(self, words: Any, *, xp: Any) -> dict[str, Any]:
        """See `DeviceEnv`."""
        last = 2 * self._distance
        cell = below(words[0], 4 * last, xp=xp)
        run, along = cell // last, cell % last
        low, high = xp.zeros_like(cell), xp.zeros_like(cell) + last
        runs = [run == k for k in range(3)]
        # The edge as four runs of `last` cells, each without its end, clockwise from the upper left corner.
        target_row = xp.where(runs[0], low, xp.where(runs[1], along, xp.where(runs[2], high, last - along)))
        target_column = xp.where(runs[0], along, xp.where(runs[1], high, xp.where(runs[2], last - along, low)))
        middle = low + self._distance
        return {"row": middle, "column": middle, "target_row": target_row, "target_column": target_column}

    def observe(self, state: Mapping[str, Any], *, xp: Any) -> Any:
        """See `DeviceEnv`."""
        cell = xp.arange(self._side**2, dtype=xp.int32)[None]
        target = state["target_row"] * self._side + state["target_column"]
        agent = xp.where(self._inside(state), state["row"] * self._side + state["column"], -1)
        board = xp.where(cell == target[:, None], 1.0, 0.0)
        return xp.where(cell == agent[:, None], -1.0, board).astype(xp.float32)

    def step(self, state: Mapping[str, Any], action: Any, *, xp: Any) -> tuple[dict[str, Any], Any, Any]:
        """See `DeviceEnv`."""
        moves = [xp.asarray(table, dtype=xp.int32)[action] for table in (ROWS, COLUMNS)]
        after = dict(state) | {"row": state["row"] + moves[0], "column": state["column"] + moves[1]}
        reached = (after["row"] == after["target_row"]) & (after["column"] == after["target_column"])
        inside = self._inside(after)
        reward = xp.where(reached, 1.0, xp.where(inside, 0.0, -1.0)).astype(xp.float32)
        return after, reward, reached | ~inside

    def _inside(self, state: Mapping[str, Any]) -> Any:
        row, column = state["row"], state["column"]
        return (row >= 0) & (row < self._side) & (column >= 0) & (column < self._side)
