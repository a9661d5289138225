"""PPO by JAX: the formulas of `ops`, gradients of JAX, Adam of optax, Muon; an update is one compiled function."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from pufferlib_core.backends import Collector, Learnt
from pufferlib_core.backends.acting import CoreCollector, core_collector, minibatch_order
from pufferlib_core.backends.jax import JaxConfig
from pufferlib_core.backends.jax.network import JaxPolicy, Net, Network, Params, Read, Traced, preprocess
from pufferlib_core.backends.jax.resident import Resident, refuse, write, write_ends
from pufferlib_core.backends.jax.whole import Made, Returns, learner
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
Expected = tuple[Mapping[str, Array], Coefficients, int]  # what `JaxEngine.expect` was told
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
        plain = self.device.platform == "cpu" and options.precision == "float32" and not options.device_envs
        self._core = core_collector(spec, pool, seed) if plain else None
        self._state: dict[str, Array] = {}
        self._adam_step = np.zeros(1, np.int64)
        self._adam: Any = None
        self._momentum: Params = {}
        self._muon = served(spec, config.optimizer)
        self._update = jax.jit(self._descent, donate_argnums=(0, 1, 2))
        self._resident: Resident | None = None  # environments on the device
        self._device_envs = options.device_envs
        # The host computes priorities, divergences and v-trace between collection and descent; with a memory both in one
        # function take XLA minutes to compile.
        between = config.advantage != "gae" or config.prioritize or config.kl_target
        self.whole = options.device_envs and not (between or spec.carry)
        self._expected: Expected | None = None
        self._whole: Any = None
        self._made: tuple[Made, Segment, int] | None = None

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
        if self._resident is not None:
            self._resident.scene = None

    def pull(self) -> None:
        """What JAX works on becomes the arrays of `tensors`."""
        adam = next(part for part in self._adam if isinstance(part, optax.ScaleByAdamState))  # of the chain that is AdamW
        made = self.policy.params, adam.mu, adam.nu, self._momentum
        for prefix, arrays in zip(("", "adam/m/", "adam/v/", "muon/momentum/"), made, strict=True):
            for name, array in arrays.items():
                self._state[prefix + name][...] = array
        if self._resident is not None:
            self._resident.leave()

    def load(self, state: Mapping[str, Array]) -> None:
        """Acts from now on with the parameters as they are and the observation statistics of `state`."""
        self._load(self.policy, state)
        if self._core is not None:
            self._load_core(self._core, state)

    def _load(self, policy: JaxPolicy, state: Mapping[str, Array]) -> None:
        policy.load(Moments.of(state, "obs_norm/") if self.spec.config.normalize_obs else None)

    def _load_core(self, core: CoreCollector, state: Mapping[str, Array]) -> None:
        core.load({name: np.asarray(array) for name, array in self.policy.params.items()}, state)

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """Fills a segment with sampled actions; returns how many episodes ended. See `pufferlib_core.collect`."""
        if self._core is not None:
            return self._core.collect(vec, segment, first_step)
        if not self._device_envs:
            return collect(self.policy, vec, segment, seed=self.seed, first_step=first_step)
        if self._resident is None or self._resident.vec is not vec:
            self._resident = Resident(vec, self.spec, self.policy.network, self.device, self.seed, segment.steps)
        expected, self._expected = self._expected, None
        if expected is None:
            return self._resident.collect(self.policy.params, self.policy.read, segment, first_step)
        return self._collect_and_learn(self._resident, segment, first_step, expected)

    def expect(self, state: Mapping[str, Array], *, coefficients: Coefficients, update: int) -> None:
        """See `Engine.expect`."""
        self._expected = state, coefficients, update

    def _collect_and_learn(self, resident: Resident, segment: Segment, first_step: int, expected: Expected) -> int:
        state, coefficients, update = expected
        returns = None
        if self.config.normalize_return:
            mean, var, count = (np.float32(state[f"return_norm/{name}"][0]) for name in ("mean", "var", "count"))
            returns = Returns((mean, var, count), state["return_norm/running"].astype(np.float32))
        if self._whole is None:
            made_of = learner(resident.collector, self._descent_of_planes, self.config)
            self._whole = jax.jit(made_of, donate_argnums=(0, 1))
        learning = self.policy.params, self._adam, self._momentum
        made: Made = self._whole(
            learning, resident.enter(segment), self.policy.read, returns, resident.noise(first_step), self._order(update),
            Coefficients(*(float(weight) for weight in coefficients)),
        )  # fmt: skip
        self.policy.params, self._adam, self._momentum = made.descent.params, made.descent.adam, made.descent.momentum
        resident.scene = made.scene
        self._made = made, segment, update
        if not made.finite:
            write(made.rows, made.scene, segment)
            refuse(segment, resident.vec.spec.name, first_step)
        return write_ends(made.rows, made.scene, segment)

    def learnt(self) -> Learnt | None:
        """See `Engine.learnt`."""
        if self._made is None:
            return None
        (made, segment, update), self._made = self._made, None
        if not made.descent.finite:  # the segment goes into the reproduction bundle
            write(made.rows, made.scene, segment)
        left, spread = (float(value) for value in made.spread)
        return Learnt(self._losses(made.descent, update), made.obs, made.returns, made.running, (left, spread))

    def collector(self, pool: Pool) -> Collector:
        """See `Engine.collector`.

        Raises:
            ConfigError: if environments live on the device, where collecting and learning take turns.
        """
        if self._device_envs:
            raise ConfigError("train.lag collects on the host: leave it out, or jax.device_envs")
        if self._core is not None:
            core = CoreCollector(self.spec, pool, self.seed)
            return Collector(core.policy, functools.partial(self._load_core, core), core.collect)
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
        carry = None if segment.carry is None else segment.carry[0]
        done = self._update(
            self.policy.params, self._adam, self._momentum, self.policy.read,
            self._planes(segment, advantage, target, importance), carry, self._order(update, order),
            Coefficients(*(float(weight) for weight in coefficients)),
        )  # fmt: skip
        self.policy.params, self._adam, self._momentum = done.params, done.adam, done.momentum
        return self._losses(done, update)

    def _order(self, update: int, order: Array | None = None) -> Array:
        """What the minibatches of an update take, one after the other, int32 (epochs * minibatches, sequences)."""
        size, epochs = self.config.minibatch // self._length, range(self.config.epochs)
        if order is None:
            order = np.stack([minibatch_order(self.seed, update, epoch, self._sequences, size) for epoch in epochs])
        return order.reshape(-1, size)

    def _losses(self, done: Descent, update: int) -> dict[str, float]:
        """Counts the steps of a descent; returns its losses."""
        taken = int(done.taken)
        self._adam_step += taken
        if not done.finite:
            raise NonFiniteError(
                f"ppo: NaN or infinity in the loss or its gradient, update {update}, minibatch {taken}; the step was not taken"
            )
        return {name: float(done.sums[name]) / taken if taken else 0.0 for name in METRICS}

    def _planes(self, segment: Segment, advantage: Array, target: Array, importance: Array | None) -> dict[str, Array]:
        """The planes of a segment as `_sequenced` shapes them."""
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
        if self.spec.nvec:
            planes["choices"] = choices_of(segment.action)
        if self.spec.numbers:
            planes["numbers"] = numbers_of(segment.action)
        if segment.action_mask is not None:
            planes["action_mask"] = segment.action_mask[:-1]
        return self._sequenced(planes)

    def _sequenced(self, planes: Mapping[str, Traced]) -> dict[str, Traced]:
        """Planes (T, N, ...) as (L, M, ...): M sequences of L rows."""
        wide = (self._length, self._sequences, -1)
        trailing = {"features", "choices", "numbers", "action_mask"}
        return {name: plane.reshape(wide if name in trailing else wide[:2]) for name, plane in planes.items()}

    def _optimizer(self, rate: Traced) -> optax.GradientTransformation:
        c = self.config  # decays in float32, as the core has them: 1 - beta2 is a small difference
        return optax.adamw(rate, np.float32(c.beta1), np.float32(c.beta2), c.epsilon, weight_decay=c.weight_decay)

    def _descent_of_planes(
        self, learning: tuple[Params, Any, Params], read: Read, planes: dict[str, Traced], *others: Any
    ) -> Descent:  # fmt: skip
        return self._descent(*learning, read, self._sequenced(planes), *others)

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
        ended = rows["ended"] != 0
        valid = rows["valid"] != 0 if "valid" in rows else None  # on the device all rows are

        def select(plane: Traced) -> Traced:
            return (
                plane
                if valid is None
                else jnp.where(valid.reshape(*valid.shape, *[1] * (plane.ndim - 2)), plane, jnp.zeros_like(plane))
            )

        features = select(preprocess(read, rows["features"]))
        given = {name: _joined(select(plane)) for name, plane in rows.items()}
        mask = given.get("action_mask")
        if mask is not None and valid is not None:
            mask = jnp.where(_joined(valid)[:, None], mask, 1)
        network = self.policy.network
        counts = jnp.ones_like(ended) if valid is None else valid
        heads, value = network.unroll(params, features, carry, ended, counts)
        logprob, entropy = mixed(
            heads, network.log_std(params), given.get("choices"), given.get("numbers"), self.spec.nvec, mask,
            squashed=self.spec.config.squash, xp=jnp,
        )  # fmt: skip
        joined = None if valid is None else _joined(valid)
        if joined is not None:
            logprob, entropy, value = (jnp.where(joined, x, 0.0) for x in (logprob, entropy, value))
        return loss(
            logprob, entropy, value, old_logprob=given["old_logprob"], advantage=given["advantage"], target=given["target"],
            old_value=given["old_value"], valid=joined, config=self.config, coefficients=coefficients,
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
