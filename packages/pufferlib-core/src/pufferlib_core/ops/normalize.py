"""Running statistics and normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


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
        mean, var, n = batch.mean(axis=0), batch.var(axis=0), float(len(rows))
        if self.rows == 0:
            return Moments(mean, var, n)
        total = self.rows + n
        delta = mean - self.mean
        merged = (self.var * self.rows + var * n + delta**2 * (self.rows * n / total)) / total
        return Moments(self.mean + delta * (n / total), merged, total)

    def scale(self) -> npt.NDArray[np.float64]:
        """1 / deviation, (size,)."""
        return 1.0 / np.sqrt(self.var + 1e-8)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[np.float64]]:
        """Its state by name."""
        return {prefix + "mean": self.mean, prefix + "var": self.var, prefix + "count": np.array([self.rows])}
