"""Acting for back ends whose networks run elsewhere: actions are sampled here, by the core, from its own noise.

Where a back end computes on the CPU what the core can compute too, the core may do all of it: see `CoreCollector`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from pufferlib_core.backends import get_backend
from pufferlib_core.backends.params import join_params
from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import ShapeError
from pufferlib_core.native import Array, Pool, check, ffi, isa, lib, pointer
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec
from pufferlib_core.seeding import check_seed
from pufferlib_core.vector import VecEnv
from pufferlib_core.vector.base import action_dtype

# What an actor keeps as it was made.
FIXED = frozenset({"policy", "rows", "greedy", "seed", "obs", "action_mask", "carry", "action", "logprob", "value"})


class Actor:
    """A policy that acts again and again on the same memory: write into `obs`, call, read `action`.

    Every call takes the noise of the next `step`, which counts them, so that actions are those of `act` with `step` 0, 1, ...
    What a policy with a memory hands on stays in `carry`: put zeros into a row of it where an episode begins. The policy's
    parameters are those at the time of the call.

    Args:
        policy: of any back end.
        rows: N.
        greedy: the most likely action instead of a sample.
        seed: of the noise.
        masked: whether `action_mask` says what is allowed.

    Attributes:
        obs: (N, ...) as environments write them.
        action_mask: uint8 (N, choices), ones at first; None unless `masked`.
        carry: float32 (N, spec.carry); None if the policy has no memory.
        action: (N, ...), written by a call.
        logprob: float32 (N,) of the action, likewise.
        value: float32 (N,), likewise.

    None of these can be replaced, because the core may know where they are: they are written into.

    Raises:
        ShapeError: if `rows` is below 1, or the actions of `masked` have no choices.
        ConfigError: if `seed`, or a `step` that is set, does not fit 64 bits.
    """

    def __init__(self, policy: Any, rows: int = 1, *, greedy: bool = True, seed: int = 0, masked: bool = False) -> None:
        spec: PolicySpec = policy.spec
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1 or (masked and not spec.nvec):
            raise ShapeError(f"an actor has rows, and choices if it is masked; got rows={rows} and {spec.action_space}")
        self.policy, self.rows, self.greedy, self.seed = policy, rows, bool(greedy), check_seed(seed)
        self.obs = spec.tree.empty(rows)
        self.action_mask = np.ones((rows, sum(spec.nvec)), np.uint8) if masked else None
        self.carry = aligned_zeros((rows, spec.carry), np.float32) if spec.carry else None
        self.action = np.zeros((rows, *spec.action_space.shape), action_dtype(spec.action_space))
        self.logprob, self.value = aligned_zeros(rows, np.float32), aligned_zeros(rows, np.float32)
        self._step = 0

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets what is not there yet, and `step`.

        Raises:
            AttributeError: if an array or a setting is to be replaced.
        """
        if name in FIXED and hasattr(self, name):
            how = f"write into actor.{name}[...]" if isinstance(getattr(self, name), np.ndarray) else "make another actor"
            raise AttributeError(f"actor.{name} stays as it was when the actor was made: {how}")
        super().__setattr__(name, value)

    @property
    def step(self) -> int:
        """Of the next call; may be set."""
        return self._step

    @step.setter
    def step(self, step: int) -> None:
        self._step = check_seed(step, "step")

    def __call__(self) -> Array:
        """Acts on `obs`; returns `action`.

        Raises:
            NativeError: if a mask allows nothing.
        """
        self.action[...], self.logprob[...], self.value[...] = self.policy.act(
            self.obs, greedy=self.greedy, seed=self.seed, step=self._step, action_mask=self.action_mask, carry=self.carry
        )
        self._step += 1
        return self.action


class Sampler:
    """Actions from the outputs of a network: the same noise, and so the same actions, as the native back end's.

    Args:
        spec: the policy.
    """

    def __init__(self, spec: PolicySpec) -> None:
        self._spec = spec
        dist = ffi.new("puf_dist *")
        dist.size, dist.numbers, dist.logits = spec.action_space.size, spec.numbers, spec.logits
        for k, n in enumerate(spec.nvec):
            dist.n[k] = n
        dist.squash = spec.config.squash
        self._dist = dist
        self._scratch = aligned_zeros(lib.puf_dist_scratch(dist), np.float32)

    def __call__(
        self, heads: Array, log_std: Array | None, action_mask: Array | None, *, greedy: bool, seed: int, step: int, first: int
    ) -> tuple[Array, Array]:
        """Actions (N, ...) and their log-probabilities (N,); the noise of row n is keyed by (seed, first + n, step).

        Args:
            heads: float32 (N, logits).
            log_std: float32 (A,) where actions hold numbers.
            action_mask: uint8 (N, choices) or None.
            greedy: the most likely action instead of a sample.
            seed: of the noise.
            step: likewise.
            first: number of the first row.

        Raises:
            NativeError: if a mask allows nothing.
        """
        spec, n = self._spec, len(heads)
        action = np.empty((n, *spec.action_space.shape), action_dtype(spec.action_space))
        logprob = np.empty(n, np.float32)
        status = lib.puf_dist_sample(
            isa(), self._dist, pointer(heads, "heads", np.float32, (n, spec.logits)),
            ffi.NULL if log_std is None else pointer(log_std, "log_std", np.float32, (spec.numbers,)),
            ffi.NULL if action_mask is None else pointer(action_mask, "action_mask", np.uint8, (n, sum(spec.nvec))),
            n, seed, first, step, greedy, ffi.from_buffer(action), ffi.from_buffer("float[]", logprob),
            ffi.from_buffer("float[]", self._scratch),
        )  # fmt: skip
        check(status, "act (is an action mask empty?)" if action_mask is not None else "act")
        return action, logprob


class HostPolicy(ABC):
    """A policy whose network gives its outputs to the host.

    Args:
        spec: the policy.
    """

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self._sample = Sampler(spec)

    @abstractmethod
    def outputs(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """What the network makes of features (N, width), of `SpaceTree.feature_dtype`, that are not preprocessed yet.

        Args:
            features: of N rows.
            carry: what the policy has handed on, float32 (N, carry); None: it has no memory.

        Returns:
            outputs of the action head, float32 (N, logits), values (N,), and what it hands on (N, carry).
        """

    @abstractmethod
    def log_std(self) -> Array | None:
        """Logarithms of the deviations of continuous actions, float32 (A,)."""

    def forward(self, obs: Array, *, carry: Array | None = None) -> tuple[Array, Array]:
        """Outputs of the action head (N, logits) and values (N,) of N observations; see `act`. `carry` is only read."""
        return self._outputs(obs, carry)[:2]

    def _outputs(self, obs: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        tree = self.spec.tree
        if not isinstance(obs, np.ndarray) or obs.dtype != tree.feature_dtype or obs.shape[1:] != (tree.width,):
            obs = tree.features(obs)
        return self.outputs(obs, checked_carry(self.spec, carry, len(obs)))

    def act(
        self, obs: Array, *, greedy: bool = True, seed: int = 0, step: int = 0, first: int = 0,
        action_mask: Array | None = None, carry: Array | None = None, raw: bool = False,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """Actions (N, ...), log-probabilities (N,) and values (N,), as those of the native back end.

        Args:
            obs: rows (N, ...) as environments write them, or what a network reads of them, (N, width).
            greedy: the most likely action instead of a sample.
            seed: of the noise, which is keyed by (seed, first + row, step).
            step: likewise.
            first: number of the first row.
            action_mask: uint8 (N, choices), non-zero where a choice is allowed.
            carry: what a policy with a memory has handed on, float32 (N, spec.carry), zeros where an episode begins; it is
                overwritten with what the policy hands on next.
            raw: actions as they were sampled, as segments keep them, instead of what environments get (`spec.postprocess`).

        Raises:
            ShapeError: if observations or carry do not fit the policy.
        """
        heads, value, after = self._outputs(obs, carry)
        action, logprob = self._sample(heads, self.log_std(), action_mask, greedy=greedy, seed=seed, step=step, first=first)
        if carry is not None and after is not None:
            carry[...] = after
        return action if raw else self.spec.postprocess(action), logprob, value

    def actor(self, rows: int = 1, *, greedy: bool = True, seed: int = 0, masked: bool = False) -> Actor:
        """What acts again and again on the same memory; see `Actor`."""
        return Actor(self, rows, greedy=greedy, seed=seed, masked=masked)


def checked_carry(spec: PolicySpec, carry: Array | None, rows: int) -> Array | None:
    """What a policy has handed on, as it came.

    Raises:
        ShapeError: if it does not fit the policy.
    """
    if spec.carry == 0 and carry is None:
        return None
    if spec.carry == 0:
        raise ShapeError("this policy has no memory: leave carry out")
    if carry is None or carry.shape != (rows, spec.carry) or carry.dtype != np.float32:
        came = "none" if carry is None else f"{carry.dtype} {carry.shape}"
        raise ShapeError(
            f"this policy has a memory: carry must be float32 {(rows, spec.carry)}, zeros where an episode begins; got {came}"
        )
    return carry


def minibatch_order(seed: int, update: int, epoch: int, rows: int, minibatch: int) -> Any:
    """The rows of an epoch in the order in which minibatches take them, int32 (rows,); the same on every back end."""
    order = np.empty(rows, np.int32)
    check(lib.puf_minibatch_order(seed, update, epoch, rows, minibatch, ffi.from_buffer("int32_t[]", order)), "minibatches")
    return order


class CoreCollector:
    """Collects with the core, in its one call for native environments, for an engine whose network is one of the core's.

    For small networks on a CPU that is many times faster than to ask a framework for each step. What it samples is what the
    framework's network would, up to rounding. Parameters are copies, so it may also be a `Collector`.

    Args:
        spec: the policy, without a module of the user.
        pool: threads.
        seed: of the noise.

    Raises:
        ShapeError: if the policy is too large for the core.
    """

    def __init__(self, spec: PolicySpec, pool: Pool, seed: int) -> None:
        self._spec, self._seed = spec, seed
        self.policy = get_backend("native").NativePolicy(spec, aligned_zeros(spec.params, np.float32), None, pool)

    def load(self, tensors: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        """Acts from now on with these parameters and the observation statistics of `state`."""
        moments = Moments.of(state, "obs_norm/") if self._spec.config.normalize_obs else None
        self.policy.load(join_params(self._spec, tensors), moments)

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """See `Engine.collect`."""
        finished: int = self.policy.collect(vec, segment, seed=self._seed, first_step=first_step)
        return finished


def core_collector(spec: PolicySpec, pool: Pool, seed: int) -> CoreCollector | None:
    """What collects with the core in place of a network on the CPU in float32; None if the core does not have that network."""
    try:
        return None if spec.config.module else CoreCollector(spec, pool, seed)
    except ShapeError:
        return None
