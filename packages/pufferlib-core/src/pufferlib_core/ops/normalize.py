"""Running statistics and normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


class RunningMoments:
    """Mean and population variance of all rows seen, in float64 (Chan, Golub and LeVeque 1983: merging of batches).

    Before the first row: mean 0, variance 1.
    """

    def __init__(self, size: int) -> None:
        self.mean = np.zeros(size)
        self.var = np.ones(size)
        self.count = 0.0

    def update(self, rows: npt.NDArray[Any]) -> None:
        """Adds rows (n, size)."""
        if len(rows) == 0:
            return
        batch = rows.astype(np.float64)
        mean, var, n = batch.mean(axis=0), batch.var(axis=0), float(len(rows))
        if self.count == 0:
            self.mean, self.var, self.count = mean, var, n
            return
        total = self.count + n
        delta = mean - self.mean
        self.var = (self.var * self.count + var * n + delta**2 * (self.count * n / total)) / total
        self.mean = self.mean + delta * (n / total)
        self.count = total

    def scale(self) -> npt.NDArray[np.float64]:
        """1 / deviation, (size,)."""
        return 1.0 / np.sqrt(self.var + 1e-8)

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Its state by name."""
        return {"mean": self.mean, "var": self.var, "count": np.array([self.count])}

    def load(self, tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> None:
        """Restores `arrays`."""
        self.mean, self.var = np.array(tensors[prefix + "mean"]), np.array(tensors[prefix + "var"])
        self.count = float(tensors[prefix + "count"][0])
