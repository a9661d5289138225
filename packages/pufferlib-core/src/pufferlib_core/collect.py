"""Collection step by step: any policy with any vector environment. Native pairs have a fused one (csrc/rollout.c)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pufferlib_core.data import Segment, handed_on
from pufferlib_core.errors import EnvError, NonFiniteError
from pufferlib_core.native import Array
from pufferlib_core.traits import Step
from pufferlib_core.vector import VecEnv

# Parts go on alone once they have waited for each other this many times longer than the policy takes to act: serving each
# by itself costs an act and a wake-up more.
PAYS = 4
TRIED = 2  # steps of each segment after which that is decided


def collect(policy: Any, vec: VecEnv, segment: Segment, *, seed: int, first_step: int) -> int:
    """Fills a segment with sampled actions; row 0 of its observations, and of what the policy hands on, is there already.

    The parts of the vector (`VecEnv.parts`) begin in lock-step. Where they turn out to be uneven each goes on as soon as it
    is ready: the policy acts for it while others step. What is collected depends neither on that nor on the parts.

    Args:
        policy: of any back end, with `act`, `forward` and `spec`.
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
    if segment.carry is not None:
        segment.carry[1] = segment.carry[0]
    whole = _Group(policy, vec, segment, range(len(vec.parts)), seed, first_step)
    if len(vec.parts) == 1:
        return whole.go_on()
    try:
        return _by_parts(whole, vec)
    except BaseException:
        with contextlib.suppress(EnvError):  # the first error is the one to report
            while vec.under_way:
                vec.recv_part()
        raise


def _by_parts(whole: _Group, vec: VecEnv) -> int:
    of = dict.fromkeys(whole.parts, whole)
    finished = 0
    whole.send()
    while vec.under_way:
        number, step = vec.recv_part()
        finished += step.finished
        group = of[number]
        group.receive(number, step)
        if group.missing:
            continue
        if group.done:
            group.end()
        elif group is not whole or whole.t < TRIED:
            group.send()
        elif whole.uneven:
            of = {part: whole.alone(part) for part in whole.parts}
            for single in of.values():
                single.send()
        else:
            return finished + whole.go_on()
    return finished


class _Group:
    """Collection for neighbouring parts of the vector in lock-step, at a time `t` of their own."""

    def __init__(
        self, policy: Any, vec: VecEnv, segment: Segment, parts: Sequence[int], seed: int, first_step: int, t: int = 0
    ) -> None:
        self.parts, self.t = parts, t
        self.missing: set[int] = set()  # parts that step
        self._before: Array | None = None  # what the policy handed on to the rows that are under way
        self._sampled: Array | None = None  # their actions, where the environments get something else
        self._policy, self._vec, self._segment = policy, vec, segment
        self._seed, self._first_step, self._first = seed, first_step, vec.parts[parts[0]].start
        self._own = segment.part(slice(self._first, vec.parts[parts[-1]].stop))
        self._acting = self._waiting = self._arrived = 0.0  # seconds in all, likewise, of `time.perf_counter`

    def alone(self, part: int) -> _Group:
        """One of the parts by itself."""
        return _Group(self._policy, self._vec, self._segment, [part], self._seed, self._first_step, self.t)

    @property
    def done(self) -> bool:
        """Whether the segment is full."""
        return self.t == self._segment.steps

    @property
    def uneven(self) -> bool:
        """Whether going on alone pays."""
        return self._waiting > PAYS * self._acting

    def go_on(self) -> int:
        """The rest of the segment in lock-step, of the whole vector; returns the episodes that ended."""
        finished = 0
        while not self.done:
            step = self._vec.step(self._act(), out=(self._segment, self.t))
            finished += step.finished
            self._take(step, slice(0, self._vec.rows))
            self.t += 1
        self.end()
        return finished

    def send(self) -> None:
        """Lets the parts step."""
        action = self._act()
        for part in self.parts:
            self._vec.send_part(part, action[self._within(part)], out=(self._segment, self.t))
        self.missing.update(self.parts)

    def receive(self, part: int, step: Step) -> None:
        """Takes what a part's step has caused."""
        now = time.perf_counter()
        if len(self.missing) < len(self.parts):
            self._waiting += now - self._arrived
        self._arrived = now
        self._take(step, self._within(part))
        self.missing.remove(part)
        self.t += not self.missing

    def end(self) -> None:
        """Values after the last row."""
        _link(self._own, self.t - 1, self._policy.forward(self._features(self.t), carry=self._carry)[1])

    @property
    def _carry(self) -> Array | None:
        """What the policy hands on, of these rows."""
        return None if self._own.carry is None else self._own.carry[1]

    def _act(self) -> Array:
        """What environments get of the actions on the observations of t, whose values follow row t - 1."""
        own, t = self._own, self.t
        features = self._features(t)
        self._check_finite(features, "observation", self._first)
        mask = None if own.action_mask is None else own.action_mask[t]
        begin = time.perf_counter()
        self._before = None if self._carry is None else self._carry.copy()
        action, own.logprob[t], own.value[t] = self._policy.act(
            features, greedy=False, seed=self._seed, step=self._first_step + t, action_mask=mask, first=self._first,
            carry=self._carry, raw=True,
        )  # fmt: skip
        given: Array = self._policy.spec.postprocess(action)
        self._sampled = None if given is action else action
        self._acting += time.perf_counter() - begin
        if t > 0:
            _link(own, t - 1, own.value[t])
        return given

    def _take(self, step: Step, rows: slice) -> None:
        """Checks rewards; the segment keeps what was sampled; the policy that collects values final observations."""
        self._check_finite(step.reward, "reward", self._first + rows.start)
        if self._sampled is not None:
            self._own.action[self.t, rows] = self._sampled[rows]
        carry = None if self._carry is None else self._carry[rows]
        if step.finished:
            cut = np.flatnonzero((step.truncated != 0) & (step.terminated == 0))
            if len(cut):
                final = self._vec.tree.features(step.final_obs[cut])
                kept = None if carry is None else carry[cut]
                self._own.next_value[self.t, rows.start + cut] = self._policy.forward(final, carry=kept)[1]
        if carry is not None and self._before is not None:
            carry[...] = handed_on(self._before[rows], carry, step.terminated | step.truncated, step.valid)

    def _within(self, part: int) -> slice:
        rows = self._vec.parts[part]
        return slice(rows.start - self._first, rows.stop - self._first)

    def _features(self, t: int) -> Array:
        features, tree = self._own.features[t], self._vec.tree
        return features if tree.direct else tree.features(self._own.obs[t], features)

    def _check_finite(self, values: Array, what: str, first: int) -> None:
        check_finite(values, what, self._vec.spec.name, first, self.t, self._first_step)


def check_finite(values: Array, what: str, name: str, first: int, t: int, first_step: int) -> None:
    """Refuses NaN and infinity in a row of a segment, (n, ...), whose first environment is `first`.

    Raises:
        NonFiniteError: saying where.
    """
    if values.dtype == np.uint8 or np.isfinite(values).all():
        return
    env = first + int(np.argwhere(~np.isfinite(values))[0][0])
    raise NonFiniteError(
        f"{name}: NaN or infinity in the {what} of environment {env} at row {t} of the segment, "
        f"environment step {first_step + t}"
    )


def _link(segment: Segment, t: int, value: Array) -> None:
    """next_value of row t from the values of row t + 1; truncated rows have theirs already."""
    terminated = segment.terminated[t] != 0
    going_on = ~terminated & (segment.truncated[t] == 0)
    segment.next_value[t, terminated] = 0.0
    segment.next_value[t, going_on] = value[going_on]


def outputs(policy: Any, segment: Segment) -> tuple[Array, Array]:
    """Outputs of the action head for the rows of a segment that is collected, (T, N, logits), and values (T + 1, N)."""
    t, n = segment.steps, segment.envs
    if segment.carry is None:
        heads, value = policy.forward(segment.features.reshape((t + 1) * n, -1))
        return np.asarray(heads).reshape(t + 1, n, -1)[:-1], np.asarray(value).reshape(t + 1, n)
    carry, made = segment.carry[0], []
    for k in range(t):
        made.append(policy.forward(segment.features[k], carry=carry))
        after, mask = carry.copy(), None if segment.action_mask is None else segment.action_mask[k]
        policy.act(segment.features[k], action_mask=mask, carry=after)
        carry = handed_on(carry, after, segment.terminated[k] | segment.truncated[k], segment.valid[k])
    made.append(policy.forward(segment.features[t], carry=carry))
    return np.stack([heads for heads, _ in made[:-1]]), np.stack([value for _, value in made])


def valued(segment: Segment, value: Array) -> Segment:
    """A segment with other values of its observations, (T + 1, N); those of final observations stay as they were collected."""
    other = replace(segment, value=value[:-1], next_value=segment.next_value.copy())
    for t in range(segment.steps):
        _link(other, t, value[t + 1])
    return other
