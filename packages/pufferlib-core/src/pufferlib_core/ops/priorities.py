"""Prioritised sampling of sequences, as in PufferLib 3: those with large advantages are learnt from more often.

The idea is that of prioritised replay (Schaul et al. 2016, arXiv 1511.05952), applied to the environments of one segment. The
core computes the same and draws (`native.prioritized`).
"""

from __future__ import annotations

import numpy as np

from pufferlib_core.native import Array

LEAST = 1e-6  # added to every priority, so that no sequence is out of reach


def probabilities(advantage: Array, valid: Array, alpha: float) -> Array:
    """Of drawing each environment: its sum of |advantage| over valid rows to the power of alpha, normalised; float64 (N,).

    Args:
        advantage: (T, N).
        valid: where rows count, (T, N).
        alpha: 0 draws evenly.

    >>> probabilities(np.array([[1.0, -3.0], [0.0, 0.0]]), np.ones((2, 2)), 1.0).round(3).tolist()
    [0.25, 0.75]
    """
    weight = np.where(valid != 0, np.abs(advantage), 0).sum(axis=0, dtype=np.float64) ** alpha + LEAST
    chances: Array = weight / weight.sum()
    return chances


def importance(chances: Array, beta: float) -> Array:
    """Factor of the advantages of each environment, (N p)^-beta: 1 corrects for the draw, 0 not at all; float32 (N,)."""
    factor: Array = ((len(chances) * chances) ** -beta).astype(np.float32)
    return factor
