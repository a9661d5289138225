"""Collection step by step: any policy with any vector environment. Native pairs have a fused one (csrc/rollout.c)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.errors import NonFiniteError
from pufferlib_core.native import Array
from pufferlib_core.vector import VecEnv


def collect(policy: Any, vec: VecEnv, segment: Segment, *, seed: int, first_step: int) -> int:
    """Fills a segment with sampled actions; row 0 of its observations is there already.

    Args:
        policy: of any back end, with `act` and `forward`.
        vec: the environments.
        segment: written in place.
        seed: of the action noise, which is keyed by (seed, environment, first_step + t).
        first_step: steps of each environment before this segment.

    Returns:
        Episodes that ended.

    Raises:
        NonFiniteError: if an observation or a reward is NaN or infinite, saying where.
        NativeError: if an action mask allows nothing.
    """
    finished, copied = 0, not vec.tree.direct
    for t in range(segment.steps):
        features = vec.tree.features(segment.obs[t], segment.features[t]) if copied else segment.features[t]
        _check_finite(features, vec.spec.name, "observation", t, first_step)
        mask = None if segment.action_mask is None else segment.action_mask[t]
        action, segment.logprob[t], segment.value[t] = policy.act(
            features, greedy=False, seed=seed, step=first_step + t, action_mask=mask
        )
        if t > 0:
            _link(segment, t - 1, segment.value[t])
        step = vec.step(action, out=(segment, t))
        _check_finite(step.reward, vec.spec.name, "reward", t, first_step)
        if step.finished:
            finished += step.finished
            cut = np.flatnonzero((step.truncated != 0) & (step.terminated == 0))
            if len(cut):  # the values of their final observations, by the policy that collects
                segment.next_value[t, cut] = policy.forward(vec.tree.features(step.final_obs[cut]))[1]
    last = vec.tree.features(segment.obs[-1], segment.features[-1]) if copied else segment.features[-1]
    _link(segment, segment.steps - 1, policy.forward(last)[1])
    return finished


def _link(segment: Segment, t: int, value: Array) -> None:
    """next_value of row t from the values of row t + 1; truncated rows have theirs already."""
    terminated = segment.terminated[t] != 0
    going_on = ~terminated & (segment.truncated[t] == 0)
    segment.next_value[t, terminated] = 0.0
    segment.next_value[t, going_on] = value[going_on]


def _check_finite(values: Array, name: str, what: str, t: int, first_step: int) -> None:
    if np.isfinite(values).all():
        return
    env = int(np.argwhere(~np.isfinite(values))[0][0])
    raise NonFiniteError(
        f"{name}: NaN or infinity in the {what} of environment {env} at row {t} of the segment, "
        f"environment step {first_step + t}"
    )
