"""The settings of a run, resolved from all their sources."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pufferlib_core.algorithms import AlgorithmSpec, algorithm_specs, get_algorithm
from pufferlib_core.backends import backend_specs
from pufferlib_core.config import Nested, checked, from_dict, merge, option, to_dict
from pufferlib_core.errors import ConfigError, suggest
from pufferlib_core.native import MOST_THREADS
from pufferlib_core.policies import PolicyConfig
from pufferlib_core.seeding import check_seed
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec
from pufferlib_core.vector.registry import limited


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of the training loop."""

    timesteps: int = option(1_000_000, "environment steps in total, rounded up to whole updates", low=1)
    num_envs: int = option(64, "environments stepped together", low=1, high=1 << 24)
    threads: int = option(
        0, "of the C core; 0: one for each 128 environments, at most one for each processor", low=0, high=MOST_THREADS
    )
    workers: int = option(0, "processes that step environments written in Python; 0: none", low=0)
    lag: int | None = option(
        None,
        "1: a thread collects while the last segment is learnt from, with the policy before it; 0: the thread, in turn",
        low=0,
        high=1,
    )
    max_episode_steps: int | None = option(
        None, "environments written in Python: episodes are cut off after so many; 0: never", low=0
    )
    stop_return: float | None = option(None, "stop when the mean of the last 100 episodes reaches it")
    checkpoint_every: int = option(0, "environment steps between checkpoints; 0: one at the end", low=0)
    keep: int = option(0, "newest checkpoints that stay, besides best; older ones are deleted; 0: all stay", low=0)
    evaluate_every: int = option(0, "environment steps between evaluations, each with a checkpoint; 0: none", low=0)
    evaluate_episodes: int = option(100, "episodes of an evaluation, on environments of its own", low=1)


@dataclass(frozen=True)
class Settings:
    """A resolved run: every setting has its final value."""

    env: str
    algorithm: str
    backend: str
    seed: int
    out: str
    train: TrainConfig
    policy: PolicyConfig
    options: Any  # the algorithm's own section
    backend_options: Any  # the back end's own section; None: it has none
    env_section: str  # name of the environment's own section
    env_config: Any  # the section; None: the environment has none

    def to_dict(self) -> Nested:
        """As written to config.toml and into checkpoints; `resolve` takes it back."""
        top = {name: getattr(self, name) for name in ("env", "algorithm", "backend", "seed", "out")}
        sections = {"train": to_dict(self.train), "policy": to_dict(self.policy), self.algorithm: to_dict(self.options)}
        own = {self.backend: self.backend_options, self.env_section: self.env_config}
        return top | sections | {name: to_dict(config) for name, config in own.items() if config is not None}


TOP = {"env": str, "algorithm": str, "backend": str, "seed": int, "out": str}


def resolve(*layers: Mapping[str, Any]) -> tuple[Settings, EnvSpec, AlgorithmSpec]:
    """Settings from layers of nested values, later ones first in rank; the environment's preset ranks below all.

    Raises:
        ConfigError: if a setting is unknown, of the wrong type or out of range, or two contradict each other.
        UnknownName: if the environment or the algorithm is unknown.
    """
    given = merge(*layers)
    for name, kind in TOP.items():
        if name in given:
            given[name] = checked(given[name], kind, {}, name)
    if "env" not in given:
        raise ConfigError("env is missing: name an environment")
    env = env_spec(given["env"])
    algorithm = get_algorithm(given.get("algorithm", env.preset.get("algorithm", "ppo")))
    values = merge(env.preset, given)
    sections = _sections(algorithm, env)
    others = set(algorithm_specs()) - {algorithm.name}
    for name in values:
        if name not in TOP and name not in sections and name not in others:
            known = [*TOP, *sections]
            raise ConfigError(f"unknown setting {name}{suggest(name, known) or '; known: ' + ', '.join(known)}")
    made: dict[str, Any] = {name: from_dict(cls, values.get(name, {}), name) for name, cls in sections.items()}
    train: TrainConfig = made["train"]
    backend = values.get("backend", "native")
    env = limited(env_spec(given["env"], values.get(env.name)), train.max_episode_steps)
    if train.lag and (reason := algorithm.synchronous(made[algorithm.name])):
        raise ConfigError(f"train.lag={train.lag}: {reason}")
    algorithm.check(made[algorithm.name], made["policy"], train.num_envs * env.agents)
    spec = backend_specs().get(backend)  # an unknown one is refused where it is loaded
    if spec is not None and spec.check is not None:
        spec.check(made[backend], env)
    settings = Settings(
        env=given["env"],
        algorithm=algorithm.name,
        backend=backend,
        seed=check_seed(values.get("seed", 0)),
        out=values.get("out", "runs"),
        train=train,
        policy=made["policy"],
        options=made[algorithm.name],
        backend_options=made.get(backend),
        env_section=env.name,
        env_config=env.config,
    )
    return settings, env, algorithm


def _sections(algorithm: AlgorithmSpec, env: EnvSpec | None) -> dict[str, type[Any]]:
    own = {name: spec.config for name, spec in backend_specs().items() if spec.config is not None}
    own |= {} if env is None or env.config is None else {env.name: type(env.config)}
    return {"train": TrainConfig, "policy": PolicyConfig, algorithm.name: algorithm.config} | own


def option_types(algorithm: AlgorithmSpec, env: EnvSpec | None = None) -> dict[str, tuple[Any, Any, str]]:
    """Every `section.option` with its annotation, default and help: those of all back ends, those of `env` if it is given."""
    import typing

    result: dict[str, tuple[Any, Any, str]] = {}
    for section, cls in _sections(algorithm, env).items():
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            result[f"{section}.{field.name}"] = (hints[field.name], field.default, field.metadata["help"])
    return result
