"""The native back end: policies and PPO updates by the C core. CPU, float32."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pufferlib_core.backends import BackendSpec, Collector
from pufferlib_core.backends.acting import Actor, checked_carry
from pufferlib_core.backends.params import c_net, initial_params, join_params, named, views
from pufferlib_core.collect import collect
from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import EnvError, NonFiniteError
from pufferlib_core.native import Array, Pool, check, ffi, isa, lib, memory, pointer
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.policies import PolicySpec
from pufferlib_core.seeding import check_seed
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

_NULL, _FLOATS = ffi.NULL, ffi.typeof("float[]")
_actor_act = lib.puf_actor_act
_F4, _U1 = np.dtype(np.float32), np.dtype(np.uint8)
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
        self._row, self._reads, self._choices = (spec.tree.width,), spec.tree.feature_dtype, sum(spec.nvec)
        self._action = spec.action_space.shape, action_dtype(spec.action_space)
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
        if not isinstance(obs, np.ndarray) or obs.dtype != self._reads or obs.shape[1:] != self._row:
            obs = self.spec.tree.features(obs)
        return obs, pointer(obs, "obs", self._reads)

    def act(
        self, obs: Array, *, greedy: bool = True, seed: int = 0, step: int = 0, action_mask: Array | None = None,
        first: int = 0, carry: Array | None = None, raw: bool = False,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """Actions for N observations.

        Args:
            obs: rows (N, ...) as environments write them, or what a network reads of them, (N, width).
            greedy: the most likely action instead of a sample.
            seed: of the noise, which is keyed by (seed, first + row, step).
            step: likewise.
            action_mask: uint8 (N, choices), non-zero where a choice is allowed.
            first: number of the first row, where these are some of many.
            carry: what a policy with a memory has handed on, float32 (N, spec.carry), zeros where an episode begins; it is
                overwritten with what the policy hands on next.
            raw: actions as they were sampled, as segments keep them, instead of what environments get (`spec.postprocess`).

        Returns:
            action (N, ...), its log-probability (N,), value (N,).

        Raises:
            ShapeError: if observations or carry do not fit the policy.
        """
        read, flat = self._input(obs)
        n = len(read)
        handed_on = _carry(self.spec, carry, n, out=True)
        mask = _NULL if action_mask is None else pointer(action_mask, "action_mask", _U1, (n, self._choices))
        shape, dtype = self._action
        action, logprob, value = np.empty((n, *shape), dtype), np.empty(n, _F4), np.empty(n, _F4)
        status = lib.puf_policy_act(
            self.handle, self.pool.exec, flat, mask, n, seed, first, step, greedy, handed_on,
            ffi.from_buffer(action), _f4(logprob), _f4(value),
        )  # fmt: skip
        _acted(status, action_mask)
        return action if raw else self.spec.postprocess(action), logprob, value

    def actor(self, rows: int = 1, *, greedy: bool = True, seed: int = 0, masked: bool = False) -> NativeActor:
        """What acts again and again on the same memory, one call of the core a time; see `acting.Actor`."""
        return NativeActor(self, rows, greedy=greedy, seed=seed, masked=masked)

    def forward(self, obs: Array, *, carry: Array | None = None) -> tuple[Array, Array]:
        """Logits (N, L), those of choices and then the means of numbers, and values (N,) of N observations; see `act`.

        `carry` is only read.
        """
        read, flat = self._input(obs)
        n = len(read)
        handed_on = _carry(self.spec, carry, n)
        logits, value = np.empty((n, self.spec.logits), _F4), np.empty(n, _F4)
        check(lib.puf_policy_forward(self.handle, self.pool.exec, flat, handed_on, n, _f4(logits), _f4(value)), "forward")
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
        if self.spec.squash_bounds is not None:
            given = np.empty_like(segment.action[0])
            s.given, s.low, s.high = ffi.from_buffer(given), *map(_f4, self.spec.squash_bounds)
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


class NativeActor(Actor):
    """An `Actor` whose arrays are checked and cast when it is made."""

    def __init__(self, policy: NativePolicy, rows: int, *, greedy: bool, seed: int, masked: bool) -> None:
        super().__init__(policy, rows, greedy=greedy, seed=seed, masked=masked)
        tree = policy.spec.tree
        read = tree.features(self.obs) if tree.direct else aligned_zeros((rows, tree.width), _F4)
        self._read = None if tree.direct else functools.partial(tree.features, self.obs, read)
        c = ffi.new("puf_actor *")
        c.policy, c.n, c.greedy, c.seed = policy.handle, rows, greedy, seed
        c.obs, c.action = ffi.from_buffer(read), ffi.from_buffer(self.action)
        c.logprob, c.value = _f4(self.logprob), _f4(self.value)
        if self.action_mask is not None:
            c.action_mask = _u1(self.action_mask)
        if self.carry is not None:
            c.carry = _f4(self.carry)
        self._c, self._pool, self._keep = c, policy.pool, read
        self._squash = policy.spec.config.squash

    @property
    def step(self) -> int:
        """Of the next call; may be set."""
        return int(self._c.step)

    @step.setter
    def step(self, step: int) -> None:
        self._c.step = check_seed(step, "step")

    def __call__(self) -> Array:
        """See `Actor`."""
        if self._read is not None:
            self._read()
        status = _actor_act(self._c, self._pool.exec)
        if status:
            _acted(status, self.action_mask)
        if self._squash:
            self.action[...] = self.policy.spec.postprocess(self.action)
        return self.action


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
        batch.obs = pointer(segment.features, "features", self.spec.tree.feature_dtype)
        batch.action = ffi.from_buffer(segment.action)
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
    return _NULL if checked is None else pointer(checked, "carry", _F4, out=out)


def _acted(status: int, action_mask: Array | None) -> None:
    """Raises NativeError if acting has failed."""
    check(status, "act (is an action mask empty?)" if action_mask is not None else "act")


def _f4(array: Array) -> Any:
    return ffi.from_buffer(_FLOATS, array)


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
