"""Small policies with rows to learn from, and the oracle of what a back end must make of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.backends.params import initial_params, moments, served, views
from pufferlib_core.config import from_dict
from pufferlib_core.data import Segment
from pufferlib_core.native import Array, Pool
from pufferlib_core.ops.distributions import mixed
from pufferlib_core.ops.network import step, unroll
from pufferlib_core.ops.ppo import Coefficients, loss
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete, Mixed, MultiDiscrete, Space, sample_allowed
from pufferlib_core.traits import ActionSpace
from pufferlib_core.vector.base import action_dtype, choices_of, numbers_of

T, N = 8, 16
SEED = 3
VECTOR = Box(-10, 10, (5,))
IMAGE = Box(0, 255, (9, 7, 3), np.uint8)
NESTED = Dict({"eye": IMAGE, "self": Box(-5, 5, (4,)), "tool": Discrete(3)})
CHOICE, CHOICES, NUMBERS = Discrete(3), MultiDiscrete([2, 4]), Box(-1, 1, (2,))
COEFFICIENTS = Coefficients(rate=1e-3, clip=0.2, entropy=0.01)
SMALL = {"hidden": (8, 7)}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A policy and settings of PPO."""

    obs: Space = VECTOR
    actions: ActionSpace = CHOICE
    policy: dict[str, Any] = field(default_factory=dict)
    ppo: dict[str, Any] = field(default_factory=dict)
    masked: bool = False
    coefficients: Coefficients = COEFFICIENTS

    @functools.cached_property
    def spec(self) -> PolicySpec:
        """The policy."""
        return PolicySpec(
            obs_space=self.obs, action_space=self.actions, config=from_dict(PolicyConfig, SMALL | self.policy, "policy")
        )

    def config(self, **changes: Any) -> PPOConfig:
        """Settings of PPO, on minibatches of a quarter of the rows."""
        return from_dict(PPOConfig, {"horizon": T, "minibatch": T * N // 4, "epochs": 2} | self.ppo | changes, "ppo")

    def whole(self) -> PPOConfig:
        """One gradient step over all rows, as it comes."""
        return self.config(epochs=1, minibatch=T * N, max_grad_norm=0.0, weight_decay=0.0)


CASES = {
    "mlp, choice": Case(coefficients=Coefficients(rate=1e-3, clip=0.1, entropy=0.02, kl=0.3)),
    "mlp, numbers": Case(actions=NUMBERS, policy={"log_std_init": -0.3}, ppo={"weight_decay": 0.01}),
    "separate relu mlp, masked choices": Case(
        actions=CHOICES, policy={"separate": True, "activation": "relu"}, ppo={"value_clip": 0.2, "dual_clip": 3.0}, masked=True
    ),
    "mlp, choices and numbers": Case(actions=Mixed(CHOICES, NUMBERS), ppo={"normalize_advantage": False}, masked=True),
    "mlp, choices and squashed numbers": Case(
        actions=Mixed(CHOICES, Box([-2, 0], [1, 3])),
        policy={"squash": True, "log_std_init": -0.3},
        coefficients=COEFFICIENTS._replace(entropy=0.5),
        masked=True,
    ),
    "cnn, choice": Case(obs=IMAGE, policy={"conv": ("6:3:2", "4:2:1"), "activation": "relu"}),
    "encoders of a dict, numbers": Case(obs=NESTED, actions=NUMBERS, policy={"conv": ("5:3:2",), "encoder": (6,)}),
    "lstm, choice": Case(policy={"core": "lstm", "core_size": 6}),
    "lstm, numbers": Case(actions=NUMBERS, policy={"core": "lstm", "core_size": 6}),
    "separate gru, masked choices": Case(
        actions=CHOICES, policy={"core": "gru", "core_size": 5, "separate": True}, masked=True
    ),
    "cnn and lstm of a dict, choice": Case(
        obs=NESTED, policy={"conv": ("5:3:2",), "core": "lstm", "core_size": 6, "activation": "relu"}
    ),
    "cnn and gru by muon, numbers": Case(
        obs=Box(0, 255, (5, 5, 1), np.uint8),
        actions=NUMBERS,
        policy={"conv": ("2:3:2",), "hidden": (5,), "core": "gru", "core_size": 3},
        ppo={"optimizer": "muon", "weight_decay": 0.01},
    ),
}


@dataclass(frozen=True)
class Rows:
    """A segment with what learning from it aims at."""

    segment: Segment
    advantage: Array  # float32 (T, N)
    target: Array  # float32 (T, N)
    importance: Array  # float32 (T, N)


class Oracle:
    """A policy in numpy and float64, by the formulas of `ops`.

    Args:
        case: the policy and settings of PPO.
    """

    def __init__(self, case: Case) -> None:
        self.case, self.spec = case, case.spec
        self.params: Array = initial_params(self.spec, SEED).astype(np.float64)

    def read(self, features: Array) -> Array:
        """What the network reads of features."""
        read = self.spec.preprocessing(None)
        return features.astype(np.float64) if read is None else np.clip((features - read[0]) * read[1], -read[2], read[2])

    def step(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """One step of N rows: see `ops.network.step`."""
        made: tuple[Array, Array, Array | None] = step(
            self.read(features), carry, views(self.spec, self.params), self.spec, xp=xp
        )
        return made

    def evaluate(self, heads: Array, action: Array, action_mask: Array | None) -> tuple[Array, Array]:
        """Log-probabilities and entropies (N,) of actions, given the outputs of the action head."""
        choices = choices_of(action).reshape(len(action), -1) if self.spec.nvec else None
        numbers = numbers_of(action).reshape(len(action), -1) if self.spec.numbers else None
        log_std = views(self.spec, self.params).get("log_std")
        squashed = self.spec.config.squash
        return mixed(heads, log_std, choices, numbers, self.spec.nvec, action_mask, squashed=squashed, xp=xp)

    def loss(self, rows: Rows, config: PPOConfig) -> tuple[float, dict[str, float]]:
        """The loss over all valid rows, and its parts."""
        segment = rows.segment
        valid = segment.valid != 0
        features = np.where(valid[..., None], self.read(segment.features[:-1]), 0)
        tensors = views(self.spec, self.params)
        if segment.carry is None:
            heads, value, _ = step(features.reshape(T * N, -1), None, tensors, self.spec, xp=xp)
        else:
            ended = (segment.terminated | segment.truncated) != 0
            heads, value = unroll(features, segment.carry[0].astype(np.float64), ended, valid, tensors, self.spec, xp=xp)
        kept = valid.reshape(-1)
        mask = None if segment.action_mask is None else segment.action_mask[:-1].reshape(T * N, -1)[kept]
        action = segment.action.reshape(T * N, *segment.action.shape[2:])[kept]
        logprob, entropy = self.evaluate(heads.reshape(T * N, -1)[kept], action, mask)
        planes = {
            "old_logprob": segment.logprob,
            "advantage": rows.advantage,
            "target": rows.target,
            "old_value": segment.value,
            "importance": rows.importance,
        }
        flat = {name: plane.reshape(-1)[kept].astype(np.float64) for name, plane in planes.items()}
        total, parts = loss(
            logprob,
            entropy,
            value.reshape(-1)[kept],
            **flat,
            valid=None,
            config=config,
            coefficients=self.case.coefficients,
            xp=xp,
        )
        return float(total), {name: float(part) for name, part in parts.items()}

    def gradient(self, rows: Rows, config: PPOConfig) -> Array:
        """The gradient of the loss by central differences, float64 (params,); it takes seconds."""
        return np.array([self.slope(direction, rows, config) for direction in np.eye(len(self.params))])

    def slope(self, direction: Array, rows: Rows, config: PPOConfig, size: float = 1e-6) -> float:
        """The derivative of the loss along a direction (params,) by a central difference."""
        kept, sides = self.params, []
        for self.params in (kept + size * direction, kept - size * direction):
            sides.append(self.loss(rows, config)[0])
        self.params = kept
        return (sides[0] - sides[1]) / (2 * size)


def make_rows(case: Case, valid: float = 0.8) -> Rows:
    """Rows of a policy near the initial one. A part is not valid and holds NaN; episodes end here and there."""
    rng, spec, oracle = np.random.default_rng(0), case.spec, Oracle(case)
    tree = spec.tree
    segment = Segment.allocate(
        T, N, (tree.dtype, tree.shape), 0 if tree.direct else tree.width,
        (action_dtype(spec.action_space), spec.action_space.shape), sum(spec.nvec) if case.masked else 0,
    )  # fmt: skip
    carry = rng.normal(size=(2, N, spec.carry)).astype(np.float32) * 0.5 if spec.carry else None
    segment = Segment(**{name: getattr(segment, name) for name in Segment.__dataclass_fields__} | {"carry": carry})
    for row in segment.obs:
        tree.write(row, None, [spec.obs_space.sample(rng) for _ in range(N)])
    if segment.own_features is not None:
        for obs, features in zip(segment.obs, segment.own_features, strict=True):
            tree.features(obs, features)
    if segment.action_mask is not None:
        segment.action_mask[...] = rng.random(segment.action_mask.shape) < 0.7
        segment.action_mask[..., np.cumsum([0, *spec.nvec])[:-1]] = 1
    segment.terminated[...] = rng.random((T, N)) < 0.1
    segment.truncated[...] = rng.random((T, N)) < 0.1
    segment.valid[...] = rng.random((T, N)) < valid
    _act(oracle, segment, rng)
    segment.logprob[...] += 0.1 * rng.normal(size=(T, N))
    segment.value[...] += 0.1 * rng.normal(size=(T, N))
    advantage, target = (rng.normal(size=(T, N)).astype(np.float32) for _ in range(2))
    absent = segment.valid == 0
    fill(segment, rng, np.nan)
    for plane in (segment.logprob, segment.value, advantage, target):
        plane[absent] = np.nan
    return Rows(segment, advantage, target, rng.uniform(0.5, 1.5, (T, N)).astype(np.float32))


def fill(segment: Segment, rng: np.random.Generator, number: float | None = None) -> None:
    """Writes a number, or random ones, into the features of rows that are not valid; bytes, which hold no NaN, are random."""
    features, absent = segment.features[:-1], segment.valid == 0
    shape = absent.sum(), features.shape[-1]
    if features.dtype == np.uint8:
        features[absent] = rng.integers(0, 256, shape)
    else:
        features[absent] = rng.normal(size=shape) if number is None else number


def _act(oracle: Oracle, segment: Segment, rng: np.random.Generator) -> None:
    """Random actions that the masks allow, with their log-probabilities and values."""
    spec = oracle.spec
    carry = None if segment.carry is None else segment.carry[0].astype(np.float64)
    for t in range(T):
        heads, value, after = oracle.step(segment.features[t], carry)
        mask = None if segment.action_mask is None else segment.action_mask[t]
        action = segment.action[t]
        for n in range(N):
            action[n] = sample_allowed(spec.action_space, rng, None if mask is None else mask[n])
        segment.logprob[t], segment.value[t] = oracle.evaluate(heads, action, mask)[0], value
        if carry is not None and after is not None:
            ended, counts = segment.terminated[t] | segment.truncated[t], segment.valid[t]
            carry = np.where(ended[:, None] != 0, 0, np.where(counts[:, None] != 0, after, carry))


class Trial:
    """A back end in a case. Engines are made once for each settings, because some compile, and brought back to their start.

    Args:
        backend: its name.
        case: the policy and settings of PPO.
    """

    def __init__(self, backend: str, case: Case) -> None:
        self.backend, self.case = backend, case
        self._made: dict[PPOConfig, tuple[Any, dict[str, Array], dict[str, Array]]] = {}

    def new_engine(self, config: PPOConfig) -> tuple[Any, dict[str, Array]]:
        """An engine at the start of a run, with its arrays."""
        options = backend_specs()[self.backend].config if self.backend in backend_specs() else None
        engine = get_backend(self.backend, "ppo.update").make_engine(
            self.case.spec, config, options=options() if options else None, num_envs=N, seed=SEED, pool=Pool(1)
        )
        state = engine.tensors(SEED)
        engine.push()
        engine.load(state)
        return engine, state

    def engine(self, config: PPOConfig | None = None) -> tuple[Any, dict[str, Array]]:
        """The engine of these settings, the case's own unless told, back at the start of a run."""
        config = config or self.case.config()
        if config not in self._made:
            engine, state = self.new_engine(config)
            self._made[config] = engine, state, {name: array.copy() for name, array in state.items()}
        engine, state, start = self._made[config]
        for name, array in state.items():
            array[...] = start[name]
        engine.push()
        engine.load(state)
        return engine, state

    def descend(
        self, engine: Any, rows: Rows, update: int = 0, *, rate: float | None = None, **options: Any
    ) -> dict[str, float]:
        """An update of an engine; returns its losses."""
        coefficients = self.case.coefficients if rate is None else self.case.coefficients._replace(rate=rate)
        losses: dict[str, float] = engine.descend(
            rows.segment, rows.advantage, rows.target, coefficients=coefficients, update=update, **options
        )
        return losses

    def gradient(self, rows: Rows) -> tuple[Array, dict[str, float]]:
        """The gradient of the loss over all rows, float32 (params,), by its running mean after a first step, and the losses."""
        config = self.case.whole()
        engine, state = self.engine(config)
        losses = self.descend(engine, rows, importance=rows.importance)
        engine.pull()
        muon = served(self.case.spec, config.optimizer)
        found = []
        for t in self.case.spec.tensors():
            decay = config.momentum if t.name in muon else config.beta1
            found.append(state[moments(t.name, muon)[0]].ravel() / np.float32(1 - decay))
        return np.concatenate(found), losses

    def joined(self, state: dict[str, Array]) -> Array:
        """The parameters of a state one after the other, (params,)."""
        return np.concatenate([state[t.name].ravel() for t in self.case.spec.tensors()])
