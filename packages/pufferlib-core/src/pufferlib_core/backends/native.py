"""The native back end: policies and PPO updates by the C core. CPU, float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pufferlib_core.backends import BackendSpec
from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import EnvError, NonFiniteError, ShapeError
from pufferlib_core.native import Array, Pool, check, ffi, isa, lib, memory, pointer
from pufferlib_core.ops.normalize import RunningMoments
from pufferlib_core.policies import PolicySpec

if TYPE_CHECKING:
    from pufferlib_core.algorithms.ppo import PPOConfig
    from pufferlib_core.vector import VecEnv

SPEC = BackendSpec(
    name="native",
    capabilities=frozenset({"infer", "ppo.update"}),
    load=lambda: __import__("pufferlib_core.backends.native", fromlist=["native"]),
    description="C core; CPU, float32; the default",
)

METRICS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")


def c_net(spec: PolicySpec) -> Any:
    """The `puf_net` of a policy."""
    net = ffi.new("puf_net *")
    net.obs_size = spec.obs_space.size
    net.layers = len(spec.config.hidden)
    if not 1 <= net.layers <= lib.PUF_MAX_LAYERS:
        raise ShapeError(f"policy.hidden has {net.layers} layers, the native back end takes 1 to {lib.PUF_MAX_LAYERS}")
    for k, width in enumerate(spec.config.hidden):
        net.width[k] = width
    net.activation = {"tanh": lib.PUF_TANH, "relu": lib.PUF_RELU}[spec.config.activation]
    net.separate = spec.config.separate
    net.action_kind = lib.PUF_ACTION_CONTINUOUS if spec.continuous else lib.PUF_ACTION_DISCRETE
    net.action_size = spec.action_space.size
    if net.action_size > lib.PUF_MAX_HEADS:
        raise ShapeError(f"the native back end takes at most {lib.PUF_MAX_HEADS} action components, got {net.action_size}")
    for k, n in enumerate(() if spec.continuous else spec.action_space.nvec):  # type: ignore[union-attr]
        net.action_n[k] = n
    return net


def initial_params(spec: PolicySpec, seed: int) -> Array:
    """Initial parameters, float32 (params,), the same on every machine (see puf_net_init)."""
    net = c_net(spec)
    params = aligned_zeros(lib.puf_net_params(net), np.float32)
    scratch = np.zeros(lib.puf_net_init_scratch(net), np.float32)
    status = lib.puf_net_init(
        net, seed, spec.config.log_std_init, ffi.from_buffer("float[]", params), ffi.from_buffer("float[]", scratch)
    )
    check(status, "initial parameters")
    return params


class NativePolicy:
    """Acts with given parameters.

    Args:
        spec: the policy.
        params: float32 (spec.params,), copied.
        moments: observation statistics when the policy normalises.
        pool: threads.
    """

    def __init__(self, spec: PolicySpec, params: Array, moments: RunningMoments | None, pool: Pool) -> None:
        self.spec = spec
        self.pool = pool
        self._net = c_net(spec)
        self._memory = memory(lib.puf_policy_bytes(self._net, isa(), pool.threads), "policy")
        handle = ffi.new("puf_policy **")
        where = ffi.from_buffer(self._memory)
        check(lib.puf_policy_init(handle, where, self._memory.nbytes, self._net, isa(), pool.threads), "policy")
        self.handle = handle[0]
        self.load(params, moments)

    def load(self, params: Array, moments: RunningMoments | None) -> None:
        """Takes over parameters and observation statistics."""
        flat = pointer(params, "params", np.float32, (self.spec.params,))
        if moments is None:
            check(lib.puf_policy_load(self.handle, flat, ffi.NULL, ffi.NULL, 0.0), "policy")
            return
        mean, scale = moments.mean.astype(np.float32), moments.scale().astype(np.float32)
        status = lib.puf_policy_load(
            self.handle,
            flat,
            ffi.from_buffer("float[]", mean),
            ffi.from_buffer("float[]", scale),
            self.spec.config.obs_clip,
        )
        check(status, "policy")

    def act(
        self, obs: Array, *, greedy: bool = True, seed: int = 0, step: int = 0, action_mask: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Actions for N observations.

        Args:
            obs: float32 (N, *obs shape).
            greedy: the most likely action instead of a sample.
            seed: of the noise, which is keyed by (seed, row, step).
            step: likewise.
            action_mask: uint8 (N, logits), non-zero where a choice is allowed.

        Returns:
            action (N, ...), its log-probability (N,), value (N,).

        Raises:
            ShapeError: if the observations do not fit the policy.
        """
        space = self.spec.action_space
        n = len(obs)
        flat = pointer(obs, "obs", np.float32, (n, *self.spec.obs_space.shape))
        mask = ffi.NULL if action_mask is None else pointer(action_mask, "action_mask", np.uint8, (n, self.spec.logits))
        action = np.empty((n, *space.shape), np.float32 if self.spec.continuous else np.int32)
        logprob, value = np.empty(n, np.float32), np.empty(n, np.float32)
        status = lib.puf_policy_act(
            self.handle, self.pool.exec, flat, mask, n, seed, 0, step, greedy, ffi.from_buffer(action),
            ffi.from_buffer("float[]", logprob), ffi.from_buffer("float[]", value),
        )  # fmt: skip
        check(status, "act (is an action mask empty?)" if action_mask is not None else "act")
        return action, logprob, value

    def forward(self, obs: Array) -> tuple[Array, Array]:
        """Logits (N, L) (means for continuous actions) and values (N,) of float32 observations (N, *obs shape)."""
        n = len(obs)
        flat = pointer(obs, "obs", np.float32, (n, *self.spec.obs_space.shape))
        logits, value = np.empty((n, self.spec.logits), np.float32), np.empty(n, np.float32)
        where = ffi.from_buffer("float[]", logits), ffi.from_buffer("float[]", value)
        check(lib.puf_policy_forward(self.handle, self.pool.exec, flat, n, *where), "forward")
        return logits, value


class NativePPO:
    """Trains one policy with PPO: collection and updates run in the core.

    Args:
        spec: the policy.
        config: of the algorithm.
        num_envs: N; `config.horizon` * N rows make an update.
        seed: of all streams.
        pool: threads.
    """

    def __init__(self, spec: PolicySpec, config: PPOConfig, *, num_envs: int, seed: int, pool: Pool) -> None:
        self.spec, self.config, self.seed, self.pool = spec, config, seed, pool
        self.rows = config.horizon * num_envs
        self.params = initial_params(spec, seed)
        self.adam_m, self.adam_v = aligned_zeros(spec.params, np.float32), aligned_zeros(spec.params, np.float32)
        self.adam_step = np.zeros(1, np.int64)
        self.updates = 0
        self.moments = RunningMoments(spec.obs_space.size) if spec.config.normalize_obs else None
        self.return_moments = RunningMoments(1) if config.normalize_return else None
        self.running_return = np.zeros(num_envs, np.float64)
        self.policy = NativePolicy(spec, self.params, self.moments, pool)
        self._memory = memory(lib.puf_ppo_bytes(self.policy.handle, self.rows, config.minibatch), "ppo")
        handle = ffi.new("puf_ppo **")
        where = ffi.from_buffer(self._memory)
        check(lib.puf_ppo_init(handle, where, self._memory.nbytes, self.policy.handle, self.rows, config.minibatch), "ppo")
        self._ppo = handle[0]
        plane = (config.horizon, num_envs)
        self._advantage, self._target = aligned_zeros(plane, np.float32), aligned_zeros(plane, np.float32)
        self._scaled = aligned_zeros(plane, np.float32)

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """Fills a segment with sampled actions; noise is keyed by (seed, environment, first_step + t).

        Returns:
            Episodes that ended.

        Raises:
            NonFiniteError: if an observation or a reward is NaN or infinite, saying where.
        """
        s = ffi.new("puf_segment *")
        for name in ("obs", "logprob", "value", "next_value", "reward", "cost", "final_obs"):
            setattr(s, name, ffi.from_buffer("float[]", getattr(segment, name)))
        for name in ("terminated", "truncated", "valid"):
            setattr(s, name, ffi.from_buffer("uint8_t[]", getattr(segment, name)))
        s.action = ffi.from_buffer(segment.action)
        s.log = ffi.cast("puf_episode *", ffi.from_buffer(segment.log.view(np.uint8)))
        s.action_mask = ffi.NULL if segment.action_mask is None else _u1(segment.action_mask)
        s.steps = segment.steps
        bad = ffi.new("int64_t *")
        status = lib.puf_collect(vec.handle, self.policy.handle, self.pool.exec, s, self.seed, first_step, bad)
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

    def update(self, segment: Segment, *, fraction: float) -> dict[str, float]:
        """One PPO update on a segment; `fraction` is the part of the run that is done, for schedules.

        Returns:
            Metrics (see docs/ppo.md).

        Raises:
            NonFiniteError: if the loss or its gradient is not finite; the offending step was not taken.
        """
        reward = self._rewards(segment)
        shape = (segment.steps, segment.envs)
        check(
            lib.puf_gae(
                isa(), self.pool.exec, _f4(self._advantage), _f4(reward), _f4(segment.value), _f4(segment.next_value),
                _u1(segment.terminated), _u1(segment.truncated), *shape, self.config.gamma, self.config.lam,
            ),
            "gae",
        )  # fmt: skip
        np.add(self._advantage, segment.value, out=self._target)
        batch = ffi.new("puf_batch *")
        batch.obs, batch.action = _f4(segment.obs), ffi.from_buffer(segment.action)
        batch.logprob, batch.value, batch.valid = _f4(segment.logprob), _f4(segment.value), _u1(segment.valid)
        batch.action_mask = ffi.NULL if segment.action_mask is None else _u1(segment.action_mask)
        batch.advantage, batch.target, batch.rows = _f4(self._advantage), _f4(self._target), self.rows
        metrics = ffi.new("puf_ppo_metrics *")
        step = ffi.from_buffer("int64_t[]", self.adam_step)
        status = lib.puf_ppo_update(
            self._ppo, self.pool.exec, self._c_config(fraction), batch, self.seed, self.updates, _f4(self.params),
            _f4(self.adam_m), _f4(self.adam_v), step, metrics,
        )  # fmt: skip
        if status == lib.PUF_ENONFINITE:
            raise NonFiniteError(
                f"ppo: NaN or infinity in the loss or its gradient, update {self.updates}, minibatch {metrics.failed - 1}; "
                "the step was not taken"
            )
        check(status, "ppo.update")
        self.updates += 1
        if self.moments is not None:
            self.moments.update(segment.obs[:-1].reshape(self.rows, -1)[segment.valid.ravel() != 0])
        self.policy.load(self.params, self.moments)
        result = {f"losses/{name}": float(getattr(metrics, name)) for name in METRICS}
        valid = segment.valid != 0
        spread = float(np.var(self._target, where=valid)) if valid.any() else 0.0
        error = float(np.var(self._target - segment.value, where=valid)) if valid.any() else 0.0
        result["losses/explained_variance"] = 1.0 - error / spread if spread > 0 else 0.0
        result["schedule/learning_rate"] = self._rate(fraction)
        result["schedule/gradient_steps"] = float(self.adam_step[0])
        return result

    def _rate(self, fraction: float) -> float:
        kind = {"constant": lib.PUF_CONSTANT, "linear": lib.PUF_LINEAR, "cosine": lib.PUF_COSINE}[self.config.schedule]
        return float(lib.puf_schedule(kind, self.config.learning_rate, 0.0, fraction))

    def _c_config(self, fraction: float) -> Any:
        c = ffi.new("puf_ppo_config *")
        for name in ("clip", "value_clip", "dual_clip", "value_coef", "entropy_coef", "target_kl", "epochs", "minibatch",
                     "normalize_advantage"):  # fmt: skip
            setattr(c, name, getattr(self.config, name))
        c.adam.rate = self._rate(fraction)
        c.adam.beta1, c.adam.beta2, c.adam.epsilon = self.config.beta1, self.config.beta2, self.config.epsilon
        c.adam.weight_decay, c.adam.max_norm = self.config.weight_decay, self.config.max_grad_norm
        return c

    def _rewards(self, segment: Segment) -> Array:
        """Rewards to learn from: divided by the running deviation of the discounted return, if asked for."""
        if self.return_moments is None:
            return segment.reward
        over = (segment.terminated | segment.truncated) != 0
        returns = np.empty((segment.steps, segment.envs))
        for t in range(segment.steps):
            self.running_return = self.running_return * self.config.gamma + segment.reward[t]
            returns[t] = self.running_return
            self.running_return[over[t]] = 0.0
        self.return_moments.update(returns.reshape(-1, 1)[segment.valid.ravel() != 0])
        np.multiply(segment.reward, np.float32(self.return_moments.scale()[0]), out=self._scaled)
        return self._scaled

    def policy_tensors(self) -> dict[str, Array]:
        """What acting needs, by name: parameters, and observation statistics when the policy normalises."""
        tensors = _split(self.spec, self.params, "")
        if self.moments is not None:
            tensors |= {f"obs_norm/{name}": array for name, array in self.moments.arrays().items()}
        return tensors

    def trainer_tensors(self) -> dict[str, Array]:
        """What continuing needs besides: Adam's moments and step, return statistics, counters."""
        tensors = _split(self.spec, self.adam_m, "adam/m/") | _split(self.spec, self.adam_v, "adam/v/")
        tensors |= {"adam/step": self.adam_step, "updates": np.array([self.updates], np.int64)}
        if self.return_moments is not None:
            tensors |= {f"return_norm/{name}": array for name, array in self.return_moments.arrays().items()}
            tensors["return_norm/running"] = self.running_return
        return tensors

    def load_tensors(self, policy: Mapping[str, Array], trainer: Mapping[str, Array]) -> None:
        """Restores both."""
        self.params[:] = join_params(self.spec, policy)
        self.adam_m[:] = join_params(self.spec, trainer, "adam/m/")
        self.adam_v[:] = join_params(self.spec, trainer, "adam/v/")
        self.adam_step[:] = trainer["adam/step"]
        self.updates = int(trainer["updates"][0])
        if self.moments is not None:
            self.moments.load(policy, "obs_norm/")
        if self.return_moments is not None:
            self.return_moments.load(trainer, "return_norm/")
            self.running_return = np.array(trainer["return_norm/running"])
        self.policy.load(self.params, self.moments)


def _f4(array: Array) -> Any:
    return ffi.from_buffer("float[]", array)


def _u1(array: Array) -> Any:
    return ffi.from_buffer("uint8_t[]", array)


def _split(spec: PolicySpec, flat: Array, prefix: str) -> dict[str, Array]:
    return {prefix + t.name: flat[t.offset : t.offset + t.size].reshape(t.shape) for t in spec.tensors()}


def join_params(spec: PolicySpec, tensors: Mapping[str, Array], prefix: str = "") -> Array:
    """The flat vector of named tensors.

    Raises:
        ShapeError: if one is missing, or has the wrong shape or dtype.
    """
    flat = aligned_zeros(spec.params, np.float32)
    for t in spec.tensors():
        array = tensors.get(prefix + t.name)
        if array is None or array.shape != t.shape or array.dtype != np.float32:
            came = "it is missing" if array is None else f"got {array.dtype} {array.shape}"
            raise ShapeError(f"tensor {prefix}{t.name} must be float32 {t.shape}; {came}")
        flat[t.offset : t.offset + t.size] = array.ravel()
    return flat


def load_policy(spec: PolicySpec, tensors: Mapping[str, Array], threads: int = 1) -> NativePolicy:
    """A policy that acts, from the tensors of a checkpoint."""
    moments = None
    if spec.config.normalize_obs:
        moments = RunningMoments(spec.obs_space.size)
        moments.load(tensors, "obs_norm/")
    return NativePolicy(spec, join_params(spec, tensors), moments, Pool(threads))


def make_ppo(spec: PolicySpec, config: PPOConfig, *, num_envs: int, seed: int, pool: Pool) -> NativePPO:
    """The learner of the algorithm `ppo`."""
    return NativePPO(spec, config, num_envs=num_envs, seed=seed, pool=pool)
