"""The rules of csrc/catch.h as functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pufferlib_core.ops.noise import below

from pufferlib_envs.catch import CatchConfig


class Rules:
    """Catch for devices; see `DeviceEnv`."""

    fields = (("ball_row", "i4"), ("ball_column", "i4"), ("paddle", "i4"))
    draws = 1

    def __init__(self, config: CatchConfig) -> None:
        self._rows, self._columns = config.rows, config.columns

    def reset(self, words: Any, *, xp: Any) -> dict[str, Any]:
        """See `DeviceEnv`."""
        column = below(words[0], self._columns, xp=xp)
        none = xp.zeros_like(column)
        return {"ball_row": none, "ball_column": column, "paddle": none + self._columns // 2}

    def observe(self, state: Mapping[str, Any], *, xp: Any) -> Any:
        """See `DeviceEnv`."""
        cell = xp.arange(self._rows * self._columns, dtype=xp.int32)[None]
        ball = state["ball_row"] * self._columns + state["ball_column"]
        paddle = (self._rows - 1) * self._columns + state["paddle"]
        return ((cell == ball[:, None]) | (cell == paddle[:, None])).astype(xp.float32)

    def step(self, state: Mapping[str, Any], action: Any, *, xp: Any) -> tuple[dict[str, Any], Any, Any]:
        """See `DeviceEnv`."""
        paddle = xp.clip(state["paddle"] + action - 1, 0, self._columns - 1)
        row = state["ball_row"] + 1
        landed = row == self._rows - 1
        reward = xp.where(landed, xp.where(paddle == state["ball_column"], 1.0, -1.0), 0.0).astype(xp.float32)
        return {"ball_row": row, "ball_column": state["ball_column"], "paddle": paddle}, reward, landed
