"""Statistics of finished episodes."""

from __future__ import annotations

import operator
from collections import deque
from typing import Any

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.native import ffi, lib

WINDOW = 100  # episodes behind `episode_return_mean`


class Episodes:
    """Counts episodes and keeps the returns and lengths of the last hundred, in the order (row, environment)."""

    def __init__(self) -> None:
        self.count = 0
        self.returns: deque[float] = deque(maxlen=WINDOW)
        self.lengths: deque[int] = deque(maxlen=WINDOW)

    def add(self, segment: Segment, finished: int) -> None:
        """Adds the episodes that ended in a segment."""
        if finished == 0:
            return
        rows = np.empty(finished, np.int64)
        lib.puf_episodes(
            ffi.from_buffer("uint8_t[]", segment.terminated), ffi.from_buffer("uint8_t[]", segment.truncated),
            segment.rows, ffi.from_buffer("int64_t[]", rows), finished,
        )  # fmt: skip
        last = segment.log.reshape(-1)[rows[-WINDOW:]]
        self.count += finished
        self.returns.extend(last["episode_return"].tolist())
        self.lengths.extend(last["episode_length"].tolist())

    @property
    def return_mean(self) -> float:
        """Mean return of the last hundred episodes; NaN before the first."""
        return float(np.mean(self.returns)) if self.returns else float("nan")

    @property
    def length_mean(self) -> float:
        """Mean length of the last hundred episodes; NaN before the first."""
        return float(np.mean(self.lengths)) if self.lengths else float("nan")

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"count": self.count, "returns": list(self.returns), "lengths": list(self.lengths)}

    def load(self, state: dict[str, Any]) -> None:
        """Restores `state`.

        Raises:
            KeyError, TypeError, ValueError: if it is none.
        """
        self.count = counted(state["count"])
        self.returns.extend(float(value) for value in state["returns"])
        self.lengths.extend(counted(value) for value in state["lengths"])


def counted(value: Any) -> int:
    """A number of steps or episodes as a file holds it.

    Raises:
        TypeError, ValueError: if it is none, or more than 64 bits with a sign hold.
    """
    number = operator.index(value)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"{number} is not a count")
    return number
