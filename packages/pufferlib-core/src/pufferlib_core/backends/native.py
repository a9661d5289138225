"""The native back end: policies and PPO updates by the C core. CPU, float32."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pufferlib_core.backends import BackendSpec, Collector
from pufferlib_core.backends.acting import checked_carry
from pufferlib_core.backends.params import c_net, initial_params, join_params, named, views
from pufferlib_core.collect import collect
from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import EnvError, NonFiniteError
from pufferlib_core.native import Array, Pool, check, ffi, isa, lib, memory, pointer
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.policies import PolicySpec
from pufferlib_core.vector import NativeVec, VecEnv
from pufferlib_core.vector.base import action_dtype

if TYPE_CHECKING:
    from pufferlib_core.algorithms.ppo import PPOConfig

SPEC = BackendSpec(
    name="native",
    capabilities=frozenset({"infer", "ppo.update"}),
    load=lambda: __import__("pufferlib_core.backends.native", fromlist=["native"]),
    description="C core; CPU, float32; the default",
)

METRICS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")


class NativePolicy:
    """Acts with given parameters.

    Args:
        spec: the policy.
        params: float32 (spec.params,), copied.
        moments: observation statistics when the policy normalises.
        pool: threads.
    """

    def __init__(self, spec: PolicySpec, params: Array, moments: Moments | None, pool: Pool) -> None:
        self.spec = spec
        self.pool = pool
        self._net = c_net(spec)
        self._memory = memory(lib.puf_policy_bytes(self._net, isa(), pool.threads), "policy")
        handle = ffi.new("puf_policy **")
        where = ffi.from_buffer(self._memory)
        check(lib.puf_policy_init(handle, where, self._memory.nbytes, self._net, isa(), pool.threads), "policy")
        self.handle = handle[0]
        self.load(params, moments)

    def load(self, params: Array, moments: Moments | None) -> None:
        """Takes over parameters and observation statistics."""
        flat = pointer(params, "params", np.float32, (self.spec.params,))
        self._log_std = views(self.spec, params)["log_std"].copy() if self.spec.numbers else None
        read = self.spec.preprocessing(moments)
        if read is None:
            check(lib.puf_policy_load(self.handle, flat, ffi.NULL, ffi.NULL, 0.0), "policy")
        else:
            mean, scale, bound = read
            check(lib.puf_policy_load(self.handle, flat, _f4(mean), _f4(scale), bound), "policy")

    def log_std(self) -> Array | None:
        """Logarithms of the deviations of continuous actions, float32 (A,); None if there are none."""
        return self._log_std

    def _input(self, obs: Array) -> tuple[Array, Any]:
        """What the network reads of observations, or of features (N, width) of them; the array keeps the memory alive."""
        tree = self.spec.tree
        if obs.dtype != np.float32 or obs.shape[1:] != (tree.width,):
            obs = tree.features(obs)
        return obs, pointer(obs, "obs", np.float32, (len(obs), tree.width))

    def act(
        self, obs: Array, *, greedy: bool = True, seed: int = 0, step: int = 0, action_mask: Array | None = None,
        first: int = 0, carry: Array | None = None,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """Actions for N observations.

        Args:
            obs: rows (N, ...) as environments write them, or what a network reads of them, float32 (N, width).
            greedy: the most likely action instead of a sample.
            seed: of the noise, which is keyed by (seed, first + row, step).
            step: likewise.
            action_mask: uint8 (N, choices), non-zero where a choice is allowed.
            first: number of the first row, where these are some of many.
            carry: what a policy with a memory has handed on, float32 (N, spec.carry), zeros where an episode begins; it is
                overwritten with what the policy hands on next.

        Returns:
            action (N, ...), its log-probability (N,), value (N,).

        Raises:
            ShapeError: if observations or carry do not fit the policy.
        """
        handed_on = _carry(self.spec, carry, len(obs), out=True)
        space = self.spec.action_space
        n = len(obs)
        _read, flat = self._input(obs)
        wide = (n, sum(self.spec.nvec))
        mask = ffi.NULL if action_mask is None else pointer(action_mask, "action_mask", np.uint8, wide)
        action = np.empty((n, *space.shape), action_dtype(space))
        logprob, value = np.empty(n, np.float32), np.empty(n, np.float32)
        status = lib.puf_policy_act(
            self.handle, self.pool.exec, flat, mask, n, seed, first, step, greedy, handed_on,
            ffi.from_buffer(action), ffi.from_buffer("float[]", logprob), ffi.from_buffer("float[]", value),
        )  # fmt: skip
        check(status, "act (is an action mask empty?)" if action_mask is not None else "act")
        return action, logprob, value

    def forward(self, obs: Array, *, carry: Array | None = None) -> tuple[Array, Array]:
        """Logits (N, L), those of choices and then the means of numbers, and values (N,) of N observations; see `act`.

        `carry` is only read.
        """
        handed_on = _carry(self.spec, carry, len(obs))
        n = len(obs)
        _read, flat = self._input(obs)
        logits, value = np.empty((n, self.spec.logits), np.float32), np.empty(n, np.float32)
        where = ffi.from_buffer("float[]", logits), ffi.from_buffer("float[]", value)
        check(lib.puf_policy_forward(self.handle, self.pool.exec, flat, handed_on, n, *where), "forward")
        return logits, value

    def collect(self, vec: VecEnv, segment: Segment, *, seed: int, first_step: int) -> int:
        """Fills a segment with sampled actions; noise is keyed by (seed, environment, first_step + t).

        Returns:
            Episodes that ended.

        Raises:
            NonFiniteError: if an observation or a reward is NaN or infinite, saying where.
        """
        if not isinstance(vec, NativeVec):
            return collect(self, vec, segment, seed=seed, first_step=first_step)
        s = ffi.new("puf_segment *")
        for name in ("obs", "logprob", "value", "next_value", "reward", "cost", "final_obs"):
            setattr(s, name, ffi.from_buffer("float[]", getattr(segment, name)))
        for name in ("terminated", "truncated", "valid"):
            setattr(s, name, ffi.from_buffer("uint8_t[]", getattr(segment, name)))
        s.action = ffi.from_buffer(segment.action)
        s.log = ffi.cast("puf_episode *", ffi.from_buffer(segment.log.view(np.uint8)))
        s.action_mask = ffi.NULL if segment.action_mask is None else _u1(segment.action_mask)
        s.steps = segment.steps
        s.carry = ffi.NULL if segment.carry is None else _f4(segment.carry)
        bad = ffi.new("int64_t *")
        status = lib.puf_collect(vec.handle, self.handle, self.pool.exec, s, seed, first_step, bad)
        if status == lib.PUF_ENONFINITE:
            t, env = divmod(int(bad[0]), segment.envs)
            raise NonFiniteError(
                f"{vec.spec.name}: NaN or infinity in the observation of environment {env} at row {t} of the segment "
                f"(or in the reward before it), environment step {first_step + t}"
            )
        if status == lib.PUF_EMASK:
            t, env = divmod(int(bad[0]), segment.envs)
            raise EnvError(f"{vec.spec.name}: environment {env} allows no action at row {t} of the segment")
        return check(status, "collect")


class NativeEngine:
    """Memory and kernels of one PPO run: parameters, the optimiser's moments, collection, fused minibatch descent.

    Args:
        spec: the policy.
        config: of the algorithm.
        num_envs: N; `config.horizon` * N rows make an update.
        seed: of all streams.
        pool: threads.
    """

    inexact = ""
    whole = False

    def __init__(self, spec: PolicySpec, config: PPOConfig, *, num_envs: int, seed: int, pool: Pool) -> None:
        self.spec, self.config, self.seed, self.pool = spec, config, seed, pool
        self.rows = config.horizon * num_envs
        self._taken = num_envs if spec.carry else self.rows  # by the minibatches of an epoch
        self._params, self._m = (aligned_zeros(spec.params, np.float32) for _ in range(2))
        self._adam_step = np.zeros(1, np.int64)
        self.policy = NativePolicy(spec, self._params, None, pool)
        muon = config.optimizer == "muon"
        squares = spec.params - (lib.puf_muon_served(c_net(spec)) if muon else 0)
        self._v = aligned_zeros(squares, np.float32)
        sizes = self.rows, config.minibatch, config.horizon, lib.PUF_MUON if muon else lib.PUF_ADAM
        self._memory = memory(lib.puf_ppo_bytes(self.policy.handle, *sizes), "ppo")
        handle = ffi.new("puf_ppo **")
        where = ffi.from_buffer(self._memory)
        check(lib.puf_ppo_init(handle, where, self._memory.nbytes, self.policy.handle, *sizes), "ppo")
        self._ppo = handle[0]

    def tensors(self, seed: int) -> dict[str, Array]:
        """Initial parameters and the optimiser's state by name: views of the engine's own memory."""
        self._params[:] = initial_params(self.spec, seed)
        return named(self.spec, self.config.optimizer, self._params, self._m, self._v, self._adam_step)

    def push(self) -> None:
        """Nothing: the arrays of `tensors` are what the core works on."""

    def pull(self) -> None:
        """Nothing, likewise."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Acts from now on with the parameters as they are and the observation statistics of `state`."""
        self._load(self.policy, state)

    def _load(self, policy: NativePolicy, state: Mapping[str, Array]) -> None:
        policy.load(self._params, Moments.of(state, "obs_norm/") if self.spec.config.normalize_obs else None)

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """See `Engine.collect` and `NativePolicy.collect`."""
        return self.policy.collect(vec, segment, seed=self.seed, first_step=first_step)

    def collector(self, pool: Pool) -> Collector:
        """See `Engine.collector`."""
        policy = NativePolicy(self.spec, self._params, None, pool)

        def fill(vec: VecEnv, segment: Segment, first_step: int) -> int:
            return policy.collect(vec, segment, seed=self.seed, first_step=first_step)

        return Collector(policy, functools.partial(self._load, policy), fill)

    def descend(
        self, segment: Segment, advantage: Array, target: Array, *, coefficients: Coefficients, update: int,
        order: Array | None = None, importance: Array | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """See `Engine.descend`."""
        batch = ffi.new("puf_batch *")
        batch.obs, batch.action = _f4(segment.features), ffi.from_buffer(segment.action)
        batch.logprob, batch.value, batch.valid = _f4(segment.logprob), _f4(segment.value), _u1(segment.valid)
        batch.action_mask = ffi.NULL if segment.action_mask is None else _u1(segment.action_mask)
        batch.advantage, batch.target, batch.rows = _f4(advantage), _f4(target), self.rows
        if order is not None:
            batch.order = pointer(order, "order", np.int32, (self.config.epochs, self._taken))
        if importance is not None:
            batch.importance = pointer(importance, "importance", np.float32, advantage.shape)
        if segment.carry is not None:
            batch.terminated, batch.truncated = _u1(segment.terminated), _u1(segment.truncated)
            batch.carry = _f4(segment.carry[0])
        metrics = ffi.new("puf_ppo_metrics *")
        status = lib.puf_ppo_update(
            self._ppo, self.pool.exec, self._c_config(coefficients), batch, self.seed, update, _f4(self._params),
            _f4(self._m), _f4(self._v), ffi.from_buffer("int64_t[]", self._adam_step), metrics,
        )  # fmt: skip
        if status == lib.PUF_ENONFINITE:
            raise NonFiniteError(
                f"ppo: NaN or infinity in the loss or its gradient, update {update}, minibatch {metrics.failed - 1}; "
                "the step was not taken"
            )
        check(status, "ppo.update")
        return {name: float(getattr(metrics, name)) for name in METRICS}

    def _c_config(self, coefficients: Coefficients) -> Any:
        c = ffi.new("puf_ppo_config *")
        for name in ("value_clip", "dual_clip", "value_coef", "target_kl", "epochs", "minibatch", "normalize_advantage"):
            setattr(c, name, getattr(self.config, name))
        c.adam.rate, c.clip, c.entropy_coef, c.kl_coef = coefficients
        c.adam.beta1, c.adam.beta2, c.adam.epsilon = self.config.beta1, self.config.beta2, self.config.epsilon
        c.adam.weight_decay, c.adam.max_norm = self.config.weight_decay, self.config.max_grad_norm
        c.momentum = self.config.momentum
        return c


def _carry(spec: PolicySpec, carry: Array | None, rows: int, *, out: bool = False) -> Any:
    """C pointer to what a policy has handed on, NULL if it has no memory; see `checked_carry`."""
    checked = checked_carry(spec, carry, rows)
    return ffi.NULL if checked is None else pointer(checked, "carry", np.float32, out=out)


def _f4(array: Array) -> Any:
    return ffi.from_buffer("float[]", array)


def _u1(array: Array) -> Any:
    return ffi.from_buffer("uint8_t[]", array)


def load_policy(spec: PolicySpec, tensors: Mapping[str, Array], *, options: None = None, threads: int = 1) -> NativePolicy:
    """A policy that acts, from the tensors of a checkpoint."""
    moments = None
    if spec.config.normalize_obs:
        moments = Moments.of(tensors, "obs_norm/")
    return NativePolicy(spec, join_params(spec, tensors), moments, Pool(threads))


def make_engine(
    spec: PolicySpec, config: PPOConfig, *, options: None = None, num_envs: int, seed: int, pool: Pool
) -> NativeEngine:
    """The engine of algorithms that need `ppo.update`."""
    return NativeEngine(spec, config, num_envs=num_envs, seed=seed, pool=pool)
