"""Collection step by step: any policy with any vector environment. Native pairs have a fused one (csrc/rollout.c)."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.errors import EnvError, NonFiniteError
from pufferlib_core.native import Array
from pufferlib_core.traits import Step
from pufferlib_core.vector import VecEnv


def collect(policy: Any, vec: VecEnv, segment: Segment, *, seed: int, first_step: int) -> int:
    """Fills a segment with sampled actions; row 0 of its observations is there already.

    Each part of the vector (`VecEnv.parts`) goes on as soon as it is ready: the policy acts for it while others step. What
    is collected does not depend on who is ready when, nor on the parts.

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
    parts = [_Part(policy, vec, segment, number, seed, first_step) for number in range(len(vec.parts))]
    finished = 0
    try:
        for part in parts:
            part.send()
        while vec.under_way:
            number, step = vec.recv_part()
            finished += step.finished
            parts[number].receive(step)
            if parts[number].t < segment.steps:
                parts[number].send()
            else:
                parts[number].end()
    except BaseException:
        with contextlib.suppress(EnvError):  # the first error is the one to report
            while vec.under_way:
                vec.recv_part()
        raise
    return finished


class _Part:
    """Collection for one part of the vector, which is at a time `t` of its own."""

    def __init__(self, policy: Any, vec: VecEnv, segment: Segment, number: int, seed: int, first_step: int) -> None:
        self.t = 0
        self._policy, self._vec, self._segment, self._number = policy, vec, segment, number
        self._seed, self._first_step, self._first = seed, first_step, vec.parts[number].start
        self._own = segment.part(vec.parts[number])

    def send(self) -> None:
        """Acts on the observations of t."""
        own, t = self._own, self.t
        features = self._features(t)
        self._check_finite(features, "observation")
        mask = None if own.action_mask is None else own.action_mask[t]
        action, own.logprob[t], own.value[t] = self._policy.act(
            features, greedy=False, seed=self._seed, step=self._first_step + t, action_mask=mask, first=self._first
        )
        if t > 0:
            _link(own, t - 1, own.value[t])
        self._vec.send_part(self._number, action, out=(self._segment, t))

    def receive(self, step: Step) -> None:
        """Takes what the action of t has caused; the values of final observations are those of the policy that collects."""
        self._check_finite(step.reward, "reward")
        if step.finished:
            cut = np.flatnonzero((step.truncated != 0) & (step.terminated == 0))
            if len(cut):
                final = self._vec.tree.features(step.final_obs[cut])
                self._own.next_value[self.t, cut] = self._policy.forward(final)[1]
        self.t += 1

    def end(self) -> None:
        """Values after the last row."""
        _link(self._own, self.t - 1, self._policy.forward(self._features(self.t))[1])

    def _features(self, t: int) -> Array:
        features, tree = self._own.features[t], self._vec.tree
        return features if tree.direct else tree.features(self._own.obs[t], features)

    def _check_finite(self, values: Array, what: str) -> None:
        if np.isfinite(values).all():
            return
        env = self._first + int(np.argwhere(~np.isfinite(values))[0][0])
        raise NonFiniteError(
            f"{self._vec.spec.name}: NaN or infinity in the {what} of environment {env} at row {self.t} of the segment, "
            f"environment step {self._first_step + self.t}"
        )


def _link(segment: Segment, t: int, value: Array) -> None:
    """next_value of row t from the values of row t + 1; truncated rows have theirs already."""
    terminated = segment.terminated[t] != 0
    going_on = ~terminated & (segment.truncated[t] == 0)
    segment.next_value[t, terminated] = 0.0
    segment.next_value[t, going_on] = value[going_on]
