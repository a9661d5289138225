"""PPO by JAX: the formulas of `ops`, gradients of JAX, Adam of optax, Muon; an update is one compiled function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from pufferlib_core.backends import Collector
from pufferlib_core.backends.acting import minibatch_order
from pufferlib_core.backends.jax import JaxConfig
from pufferlib_core.backends.jax.network import JaxPolicy, Net, Network, Params, Read, Traced, preprocess
from pufferlib_core.backends.params import moments, served
from pufferlib_core.collect import collect
from pufferlib_core.data import Segment
from pufferlib_core.errors import ConfigError, NonFiniteError, require
from pufferlib_core.native import Array, Pool
from pufferlib_core.ops.distributions import mixed
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.optim import muon
from pufferlib_core.ops.ppo import Coefficients, loss
from pufferlib_core.policies import PolicySpec
from pufferlib_core.vector import VecEnv
from pufferlib_core.vector.base import choices_of, numbers_of

if TYPE_CHECKING:
    from pufferlib_core.algorithms.ppo import PPOConfig

METRICS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")
LAST_STEP = 2**31 - 1  # optax counts with 32 bits; bias corrections are 1 long before


def device_of(options: JaxConfig) -> Any:
    """The device of the settings.

    Raises:
        ConfigError: if it is not here.
    """
    kind, _, number = options.device.partition(":")
    try:
        return jax.devices(kind)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        here = ", ".join(f"{device.platform}:{k}" for k, device in enumerate(jax.devices()))
        raise ConfigError(f"jax.device={options.device!r} is not here; JAX sees {here}") from error


def network_of(spec: PolicySpec, options: JaxConfig) -> Net:
    """The network of the settings."""
    if not spec.config.module:
        return Network(spec, options.precision)
    require("flax", "jax")
    from pufferlib_core.backends.jax.module import ModuleNetwork  # flax takes a second to import

    return ModuleNetwork(spec, spec.config.module, options.precision)


class Descent(NamedTuple):
    """An update on its way through the minibatches."""

    params: Params
    adam: Any  # state of `optimizer`, which has the parameters that Muon does not serve
    momentum: Params  # of those that it does
    sums: dict[str, Traced]  # of the metrics, over the steps taken
    taken: Traced  # steps; also the number of the next minibatch
    going: Traced  # whether that one comes
    finite: Traced  # whether loss and gradient were


class JaxEngine:
    """Parameters, optimiser, collection and descent of one PPO run.

    Args:
        spec: the policy.
        config: of the algorithm.
        options: of the back end.
        num_envs: N; `config.horizon` * N rows make an update.
        seed: of all streams.
        pool: threads of the core, for what is computed there.
    """

    inexact = "XLA does not promise an order of sums"

    def __init__(
        self, spec: PolicySpec, config: PPOConfig, *, options: JaxConfig, num_envs: int, seed: int, pool: Pool
    ) -> None:
        self.spec, self.config, self.seed, self.pool = spec, config, seed, pool
        self.device = device_of(options)
        # With a memory minibatches hold sequences of `horizon` rows, else single rows.
        self._length = config.horizon if spec.carry else 1
        self._sequences = config.horizon * num_envs // self._length
        self.policy = JaxPolicy(spec, network_of(spec, options), self.device)
        self._state: dict[str, Array] = {}
        self._adam_step = np.zeros(1, np.int64)
        self._adam: Any = None
        self._momentum: Params = {}
        self._muon = served(spec, config.optimizer)
        self._update = jax.jit(self._descent, donate_argnums=(0, 1, 2))

    def tensors(self, seed: int) -> dict[str, Array]:
        """Initial parameters and the optimiser's state by name, on the host."""
        params = self.policy.network.initial(seed)
        kept = {key: np.zeros_like(array) for name, array in params.items() for key in moments(name, self._muon)}
        self._state = params | kept | {"adam/step": self._adam_step}
        return self._state

    def push(self) -> None:
        """The arrays of `tensors` become what JAX works on: copies, which it may give up."""
        names = [name for name in self._state if not name.startswith(("adam/", "muon/"))]

        def put(prefix: str, chosen: Iterable[str]) -> Params:
            return {name: jax.device_put(jnp.array(self._state[prefix + name], copy=True), self.device) for name in chosen}

        others = [name for name in names if name not in self._muon]
        self.policy.params, self._momentum = put("", names), put("muon/momentum/", self._muon)
        mu, nu = put("adam/m/", others), put("adam/v/", others)
        count = jax.device_put(jnp.int32(min(int(self._adam_step[0]), LAST_STEP)), self.device)
        adam = optax.tree.set(self._optimizer(0.0).init(mu), count=count, mu=mu, nu=nu)
        self._adam = jax.device_put(adam, self.device)

    def pull(self) -> None:
        """What JAX works on becomes the arrays of `tensors`."""
        made = self.policy.params, self._moments("mu"), self._moments("nu"), self._momentum
        for prefix, arrays in zip(("", "adam/m/", "adam/v/", "muon/momentum/"), made, strict=True):
            for name, array in arrays.items():
                self._state[prefix + name][...] = array

    def _moments(self, name: str) -> Params:
        found: Params = optax.tree.get(self._adam, name)
        return found

    def load(self, state: Mapping[str, Array]) -> None:
        """Acts from now on with the observation statistics of `state`."""
        self._load(self.policy, state)

    def _load(self, policy: JaxPolicy, state: Mapping[str, Array]) -> None:
        policy.load(Moments.of(state, "obs_norm/") if self.spec.config.normalize_obs else None)

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """Fills a segment with sampled actions; returns how many episodes ended. See `pufferlib_core.collect`."""
        return collect(self.policy, vec, segment, seed=self.seed, first_step=first_step)

    def collector(self, pool: Pool) -> Collector:
        """See `Engine.collector`."""
        policy = JaxPolicy(self.spec, self.policy.network, self.device)

        def load(state: Mapping[str, Array]) -> None:
            policy.params = jax.tree.map(jnp.copy, self.policy.params)  # an update gives up the memory of the others
            self._load(policy, state)

        def fill(vec: VecEnv, segment: Segment, first_step: int) -> int:
            return collect(policy, vec, segment, seed=self.seed, first_step=first_step)

        return Collector(policy, load, fill)

    def descend(
        self, segment: Segment, advantage: Array, target: Array, *, coefficients: Coefficients, update: int,
        order: Array | None = None, importance: Array | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """See `Engine.descend`."""
        size, epochs = self.config.minibatch // self._length, range(self.config.epochs)
        if order is None:
            order = np.stack([minibatch_order(self.seed, update, epoch, self._sequences, size) for epoch in epochs])
        carry = None if segment.carry is None else segment.carry[0]
        done = self._update(
            self.policy.params, self._adam, self._momentum, self.policy.read,
            self._planes(segment, advantage, target, importance), carry, order.reshape(-1, size),
            Coefficients(*(float(weight) for weight in coefficients)),
        )  # fmt: skip
        self.policy.params, self._adam, self._momentum = done.params, done.adam, done.momentum
        taken = int(done.taken)
        self._adam_step += taken
        if not done.finite:
            raise NonFiniteError(
                f"ppo: NaN or infinity in the loss or its gradient, update {update}, minibatch {taken}; the step was not taken"
            )
        return {name: float(done.sums[name]) / taken if taken else 0.0 for name in METRICS}

    def _planes(self, segment: Segment, advantage: Array, target: Array, importance: Array | None) -> dict[str, Array]:
        """The planes of a segment as (L, M, ...): M sequences of L rows."""
        planes: dict[str, Array] = {
            "features": segment.features[:-1],
            "old_logprob": segment.logprob,
            "old_value": segment.value,
            "advantage": advantage,
            "target": target,
            "valid": segment.valid,
            "ended": segment.terminated | segment.truncated,
        }
        if importance is not None:
            planes["importance"] = importance
        wide = (self._length, self._sequences, -1)
        if self.spec.nvec:
            planes["choices"] = choices_of(segment.action).reshape(wide)
        if self.spec.numbers:
            planes["numbers"] = numbers_of(segment.action).reshape(wide)
        if segment.action_mask is not None:
            planes["action_mask"] = segment.action_mask[:-1]
        trailing = {"features", "choices", "numbers", "action_mask"}
        return {name: plane.reshape(wide if name in trailing else wide[:2]) for name, plane in planes.items()}

    def _optimizer(self, rate: Traced) -> optax.GradientTransformation:
        c = self.config  # decays in float32, as the core has them: 1 - beta2 is a small difference
        return optax.adamw(rate, np.float32(c.beta1), np.float32(c.beta2), c.epsilon, weight_decay=c.weight_decay)

    def _descent(
        self, params: Params, adam: Any, momentum: Params, read: Read, planes: dict[str, Traced], carry: Traced | None,
        order: Traced, coefficients: Coefficients,
    ) -> Descent:  # fmt: skip
        """All minibatches in `order`, (epochs * minibatches, sequences), until one must not be stepped on."""
        gradient = jax.value_and_grad(self._loss, has_aux=True)
        c = self.config

        def step(now: Descent) -> Descent:
            index = order[now.taken]
            rows = {name: plane[:, index] for name, plane in planes.items()}
            (total, parts), grads = gradient(now.params, read, rows, coefficients, None if carry is None else carry[index])
            norm = optax.tree.norm(grads)
            finite = jnp.isfinite(total + norm)
            going = finite & ~(parts["approx_kl"] > c.target_kl) if c.target_kl > 0 else finite
            if c.max_grad_norm > 0:
                scale = jnp.where(norm > c.max_grad_norm, c.max_grad_norm / norm, 1.0)
                grads = jax.tree.map(lambda g: g * scale, grads)
            sums = {name: now.sums[name] + part for name, part in (parts | {"grad_norm": norm}).items()}
            stepped = *self._stepped(now, grads, coefficients.rate), sums
            kept = now.params, now.adam, now.momentum, now.sums
            chosen = jax.tree.map(lambda new, old: jnp.where(going, new, old), stepped, kept)
            params, adam, momentum, sums = chosen
            return Descent(params, adam, momentum, sums, now.taken + going, going, finite)

        yes = jnp.bool_(True)
        start = Descent(params, adam, momentum, dict.fromkeys(METRICS, jnp.float32(0)), jnp.int32(0), yes, yes)
        with jax.default_matmul_precision("float32"):  # some devices would round to fewer bits
            done: Descent = lax.while_loop(lambda now: now.going & (now.taken < len(order)), step, start)
        return done

    def _stepped(self, now: Descent, grads: Params, rate: Traced) -> tuple[Params, Any, Params]:
        """Parameters and what the optimiser keeps of them, after a step."""
        params, grad = ({k: x for k, x in of.items() if k not in self._muon} for of in (now.params, grads))
        updates, adam = self._optimizer(rate).update(grad, now.adam, params)
        params = optax.apply_updates(params, updates)
        momentum = {}
        for name in sorted(self._muon):
            params[name], momentum[name] = muon(
                now.params[name], grads[name], now.momentum[name], rate=rate, decay=self.config.momentum,
                weight_decay=self.config.weight_decay, xp=jnp,
            )  # fmt: skip
        return params, adam, momentum

    def _loss(
        self, params: Params, read: Read, rows: dict[str, Traced], coefficients: Coefficients, carry: Traced | None
    ) -> tuple[Traced, dict[str, Traced]]:
        """Loss of sequences, planes (L, S, ...), and its parts.

        What rows hold that are not valid is replaced before the network reads it, and what the network makes of them before
        the loss does: 0 times infinity in a gradient would be NaN, though both were selected away afterwards.
        """
        valid, ended = (rows[name] != 0 for name in ("valid", "ended"))

        def select(plane: Traced) -> Traced:
            return jnp.where(valid.reshape(*valid.shape, *[1] * (plane.ndim - 2)), plane, jnp.zeros_like(plane))

        features = select(preprocess(read, rows["features"]))
        given = {name: _joined(select(plane)) for name, plane in rows.items()}
        mask = given.get("action_mask")
        if mask is not None:
            mask = jnp.where(_joined(valid)[:, None], mask, 1)
        network = self.policy.network
        heads, value = network.unroll(params, features, carry, ended, valid)
        logprob, entropy = mixed(
            heads, network.log_std(params), given.get("choices"), given.get("numbers"), self.spec.nvec, mask, xp=jnp
        )
        logprob, entropy, value = (jnp.where(_joined(valid), x, 0.0) for x in (logprob, entropy, value))
        return loss(
            logprob, entropy, value, old_logprob=given["old_logprob"], advantage=given["advantage"], target=given["target"],
            old_value=given["old_value"], valid=_joined(valid), config=self.config, coefficients=coefficients,
            importance=given.get("importance"), xp=jnp,
        )  # fmt: skip


def _joined(plane: Traced) -> Traced:
    """(L, S, ...) as (L * S, ...)."""
    return plane.reshape(-1, *plane.shape[2:])


def make_engine(spec: PolicySpec, config: PPOConfig, *, options: JaxConfig, num_envs: int, seed: int, pool: Pool) -> JaxEngine:
    """The engine of algorithms that need `ppo.update`."""
    return JaxEngine(spec, config, options=options, num_envs=num_envs, seed=seed, pool=pool)


def load_policy(spec: PolicySpec, tensors: Mapping[str, Array], *, options: JaxConfig, threads: int = 1) -> JaxPolicy:
    """A policy that acts, from the tensors of a checkpoint; XLA has its own threads."""
    policy = JaxPolicy(spec, network_of(spec, options), device_of(options))
    policy.params = jax.device_put(policy.network.checked(tensors), policy.device)
    policy.load(Moments.of(tensors, "obs_norm/") if spec.config.normalize_obs else None)
    return policy
