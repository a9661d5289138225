"""Experience of agents that wait for each other's turns, as sequences of their own turns.

In a segment (T, N) of a turn-based environment a row is valid where its agent acted. What a living agent receives in the
rows until its next turn is the outcome of the turn before: `settle` puts it there, and `own_turns` says which rows
formulas over time may then take one after the other. Discounting is by own turns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pufferlib_core.native import Array


class Settled(NamedTuple):
    """Outcomes of own turns, (T, N) each; meaningful in valid rows, 0 in the others."""

    reward: Array
    next_value: Array  # at the next own turn, or of what the agent sees at the end of the segment; see `Segment`
    terminated: Array
    truncated: Array


def settle(reward: Array, next_value: Array, terminated: Array, truncated: Array, valid: Array) -> Settled:
    """What each own turn led to, up to the next one or the end of the episode.

    With s the last row of a turn t (the row before the agent's next valid one, the first from t on in which its episode
    ended, or the last of the segment):

        reward'_t     = reward_t + ... + reward_s
        terminated'_t = terminated_s, likewise truncated' and next_value'

    Rows before an agent's first turn in a segment belong to a turn of the segment before, whose next_value has stood for
    them; rows before its first turn in an episode follow no action of its own. Both credit nobody.

    Args:
        reward: float32 (T, N), like `next_value`.
        next_value: value of the state after each row, also of rows that are not valid.
        terminated: bool or uint8 (T, N), like `truncated` and `valid`.
        truncated: likewise.
        valid: where the agent acted.

    >>> column = lambda *x: np.array(x, np.float32)[:, None]
    >>> no = np.zeros((4, 1), np.uint8)
    >>> settled = settle(column(1, 2, 4, 8), column(5, 6, 7, 8), no, no, np.array([[1], [0], [1], [0]], np.uint8))
    >>> settled.reward.ravel().tolist(), settled.next_value.ravel().tolist()
    ([3.0, 0.0, 12.0, 0.0], [6.0, 0.0, 8.0, 0.0])
    """
    planes = (reward, next_value, terminated, truncated)
    out = Settled(*(np.zeros_like(plane) for plane in planes))
    own, last = valid != 0, (terminated != 0) | (truncated != 0)
    last[:-1] |= own[1:]
    last[-1] = True
    after = [plane[-1] for plane in planes]  # what the rows from t + 1 on lead to
    for t in range(len(reward) - 1, -1, -1):
        after[0] = reward[t] + np.where(last[t], np.float32(0), after[0])
        after[1:] = [np.where(last[t], plane[t], then) for plane, then in zip(planes[1:], after[1:], strict=True)]
        for plane, value in zip(out, after, strict=True):
            np.copyto(plane[t], value, where=own[t])
    return out


class OwnTurns(NamedTuple):
    """The valid rows of each column, moved to the end: planes (M, N), M being the most that a column has.

    Formulas that go backwards in time do not see the other rows, which lie before them where a column has fewer.
    """

    row: npt.NDArray[np.int64]  # (M, N) where in the segment each comes from
    there: npt.NDArray[np.bool_]  # (M, N) False: one of the other rows

    @classmethod
    def of(cls, valid: Array) -> OwnTurns:
        """Those of the plane `valid` (T, N)."""
        own = valid != 0
        most = max(1, int(own.sum(axis=0).max()))
        row = np.argsort(own, axis=0, kind="stable")[-most:]
        return cls(row, np.take_along_axis(own, row, axis=0))

    def gather(self, plane: Array) -> Array:
        """A plane (T, N) as (M, N)."""
        return np.take_along_axis(plane, self.row, axis=0)

    def scatter(self, plane: Array, steps: int) -> Array:
        """A plane (M, N) as (T, N), 0 in rows that are not valid."""
        out = np.zeros((steps, plane.shape[1]), plane.dtype)
        np.put_along_axis(out, self.row, np.where(self.there, plane, 0), axis=0)
        return out
