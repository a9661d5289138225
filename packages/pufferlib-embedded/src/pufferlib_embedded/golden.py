"""Golden vectors: observations and what the core makes of them, for a device to repeat."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pufferlib_core.errors import RunError
from pufferlib_core.native import Array

from pufferlib_embedded.model import Model

PLAIN, ROLLOUT, WALK = 24, 200, 40  # rows near the mean; of one episode with a memory, and without
FAR = 1e4  # deviations: saturates what can be saturated


class Golden(NamedTuple):
    """Rows in order; `begins` is 1 where an episode begins."""

    obs: Array  # (N, obs_size)
    begins: Array  # uint8 (N,)
    heads: Array  # float32 (N, L)
    choices: Array  # int32 (N, K)
    numbers: Array  # float32 (N, A)
    difference: float  # the largest from the formulas in float64, relative

    @property
    def bytes(self) -> int:
        """Memory of all of it."""
        return sum(array.nbytes for array in self[:5])


def golden(model: Model, limit: int) -> Golden:
    """Rows near the mean, at and beyond the edges of the normaliser's clip, saturated ones, and one long episode.

    Args:
        model: the policy.
        limit: bytes that they may take; the long episode ends earlier where they would be more.

    Raises:
        RunError: if the core differs from the formulas.
    """
    obs, begins = _rows(model)
    row = obs[0].nbytes + 1 + 4 * (model.spec.logits + model.spec.action_space.size)
    obs, begins = obs[: max(1, limit // row)], begins[: max(1, limit // row)]
    reference, carry = model.reference(), model.no_carry()
    theirs = np.zeros((1, model.spec.carry), np.float32) if model.spec.carry else None
    results, worst = [], 0.0
    for x, first in zip(obs, begins, strict=True):
        if first:
            carry[:] = 0
            theirs = None if theirs is None else np.zeros_like(theirs)
        results.append(model.act(x, carry))
        wanted, _, theirs = reference.outputs(x[None].astype(np.float32), theirs)
        lost = np.abs(results[-1][0].astype(np.float64) - wanted[0]).max() / max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(lost)) if lost == lost else float("inf")
    if not worst <= model.reference_tolerance:
        raise RunError(
            f"nothing is written: the exported policy differs from the formulas by {worst:.2g}, relative; at most "
            f"{model.reference_tolerance:g}"
        )
    heads, choices, numbers = (np.stack(part) for part in zip(*results, strict=True))
    return Golden(obs, begins, heads, choices, numbers, worst)


def _rows(model: Model) -> tuple[Array, Array]:
    """Observations as the network reads them, and where episodes begin."""
    rng, size = np.random.default_rng(0), model.spec.tree.width
    steps = ROLLOUT if model.carry else WALK
    if model.spec.tree.feature_dtype == np.uint8:
        edges = np.stack([np.zeros(size), np.full(size, 255)])
        obs = np.concatenate([rng.integers(256, size=(PLAIN, size)), edges, rng.integers(256, size=(steps, size))])
    else:
        middle, spread, bound = _entry(model.read, size)
        edges = _edges(middle, spread, bound)
        if model.entry is not model.read:
            edges = np.concatenate([edges, _edges(*_entry(model.entry, size))])
        walk = np.clip(np.cumsum(0.3 * rng.normal(size=(steps, size)), axis=0), -4, 4)
        obs = np.concatenate([middle + spread * rng.normal(size=(PLAIN, size)), edges, middle + spread * walk])
    begins = np.zeros(len(obs), np.uint8)
    begins[: len(obs) - steps + 1] = 1
    return obs.astype(model.spec.tree.feature_dtype), begins


def _entry(read: tuple[Array, Array, float] | None, size: int) -> tuple[Array, Array, float]:
    """Middle, spread and bound, in spreads, of what enters."""
    if read is None:
        return np.zeros(size), np.ones(size), 3.0
    bound = float(read[2])
    return read[0].astype(np.float64), 1.0 / read[1].astype(np.float64), bound if np.isfinite(bound) else 3.0


def _edges(middle: Array, spread: Array, bound: float) -> Array:
    """Rows at a bound, just beyond and far beyond, on either side and on both."""
    signs = np.where(np.arange(len(middle)) % 2, -1.0, 1.0)
    return np.stack([middle + spread * at * sign for at in (bound, 1.001 * bound, FAR) for sign in (1.0, -1.0, signs)])
