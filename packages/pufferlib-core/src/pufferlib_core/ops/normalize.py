"""Running statistics and normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


def merge(some: tuple[Any, Any, Any], others: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Mean, variance and number of the rows of both, each as (mean, var, rows); `others` are some rows."""
    (mean, var, rows), (other_mean, other_var, n) = some, others
    total = rows + n
    delta = other_mean - mean
    merged = (var * rows + other_var * n + delta**2 * (rows * n / total)) / total
    return mean + delta * (n / total), merged, total


class Moments(NamedTuple):
    """Mean and population variance of all rows seen, in float64 (Chan, Golub and LeVeque 1983: merging of batches)."""

    mean: npt.NDArray[np.float64]  # (size,)
    var: npt.NDArray[np.float64]  # (size,)
    rows: float

    @classmethod
    def empty(cls, size: int) -> Moments:
        """Before the first row: mean 0, variance 1."""
        return cls(np.zeros(size), np.ones(size), 0.0)

    @classmethod
    def of(cls, state: Mapping[str, npt.NDArray[Any]], prefix: str) -> Moments:
        """What `arrays(prefix)` put into a state."""
        return cls(state[prefix + "mean"], state[prefix + "var"], float(state[prefix + "count"][0]))

    def merged(self, rows: npt.NDArray[Any]) -> Moments:
        """The moments after rows (n, size) were seen as well."""
        if len(rows) == 0:
            return self
        batch = rows.astype(np.float64)
        return self.joined(Moments(batch.mean(axis=0), batch.var(axis=0), float(len(rows))))

    def joined(self, batch: Moments) -> Moments:
        """The moments of the rows of both."""
        return batch if self.rows == 0 else Moments(*merge(self, batch))

    def scale(self) -> npt.NDArray[np.float64]:
        """1 / deviation, (size,)."""
        return 1.0 / np.sqrt(self.var + 1e-8)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[np.float64]]:
        """Its state by name."""
        return {prefix + "mean": self.mean, prefix + "var": self.var, prefix + "count": np.array([self.rows])}
