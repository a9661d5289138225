"""Environments by name: installed ones, and `module:attribute` of a user."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

from pufferlib_core.config import from_dict, settings_of, to_dict
from pufferlib_core.errors import ConfigError, EnvError, UnknownName, require
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector.batched import from_vector, is_vector, takes_num_envs
from pufferlib_core.vector.each import from_gymnasium, is_gymnasium
from pufferlib_core.vector.parallel import from_population, is_population


def env_names() -> list[str]:
    """Names of the installed native environments."""
    return sorted({entry.name for entry in entry_points(group="pufferlib.envs")})


def env_spec(name: str, config: Mapping[str, Any] | None = None) -> EnvSpec:
    """The environment of a name.

    Args:
        name: of an installed environment (`cartpole`); `gymnasium:<id>`; `pettingzoo:<family>.<module>`
            (`pettingzoo:classic.tictactoe_v3`); or `module:attribute`, where the attribute is an EnvSpec, or a function or
            class that returns one or an environment with the interface of Gymnasium or of PettingZoo (parallel or AEC).
            With a parameter `num_envs` it returns a batch of Gymnasium (`VectorEnv`).
        config: its own settings, where they differ from its defaults.

    Raises:
        UnknownName: if no package brings it.
        EnvError: if two packages bring it, or the factory gives something else.
        ConfigError: if a setting is unknown or not legal.
    """
    if not isinstance(name, str):
        raise ConfigError(f"an environment is given by its name, which is text; got {name!r}")
    own = dict(settings_of(config, "config"))
    spec = replace(_registered(name), origin=(name, own))
    if not own:
        return spec
    if spec.configure is None:
        raise ConfigError(f"{spec.name} has no settings, got {', '.join(own)}")
    made = spec.configure(from_dict(type(spec.config), to_dict(spec.config) | own, spec.name))
    return replace(made, origin=spec.origin)


def limited(spec: EnvSpec, max_episode_steps: int | None) -> EnvSpec:
    """The environment with another time limit, which truncates; None: its own, 0: none.

    Raises:
        ConfigError: if it is native, or the number below 0.
        EnvError: if it is a batch that resets itself.
    """
    if max_episode_steps is None:
        return spec
    if isinstance(max_episode_steps, bool) or not isinstance(max_episode_steps, int) or max_episode_steps < 0:
        raise ConfigError(f"max_episode_steps={max_episode_steps!r} must be a whole number from 0")
    if spec.table is not None:
        raise ConfigError(f"max_episode_steps={max_episode_steps}: {spec.name} is native, its limit is among its own settings")
    return replace(spec, max_episode_steps=max_episode_steps)


@functools.cache
def _registered(name: str) -> EnvSpec:
    if ":" in name:
        return _from_factory(name)
    found = [entry for entry in entry_points(group="pufferlib.envs") if entry.name == name]
    if not found:
        raise UnknownName("environment", name, env_names())
    owners = sorted({entry.dist.name if entry.dist else "?" for entry in found})
    if len(owners) > 1:
        raise EnvError(f"environment {name!r} is brought by {' and '.join(owners)}: uninstall one of them")
    spec = found[0].load()
    if not isinstance(spec, EnvSpec):
        raise EnvError(f"environment {name!r} of {owners[0]} must be an EnvSpec, got {type(spec).__name__}")
    return spec


def _from_factory(name: str) -> EnvSpec:
    module, _, attribute = name.partition(":")
    if module == "gymnasium":
        return _from_gymnasium(attribute)
    if module == "pettingzoo":
        return _from_pettingzoo(attribute)
    try:
        made = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise EnvError(f"environment {name!r}: no module named {error.name!r}") from error
    except AttributeError as error:
        raise EnvError(f"environment {name!r}: {module} has no {attribute!r}") from error
    if callable(made) and takes_num_envs(made):
        return _from_batches(name, attribute, made)
    result = made() if callable(made) else made
    if isinstance(result, EnvSpec):
        return result
    if is_vector(result):
        raise EnvError(f"environment {name!r} returns a batch: give it a parameter num_envs, how many environments to make")
    if callable(made):
        if is_population(result):  # by their module where they have PettingZoo's names, which say nothing
            own = module.rpartition(".")[2] if attribute in ("env", "parallel_env") else attribute.lower()
            return from_population(own, made, result)
        if is_gymnasium(result):
            return from_gymnasium(attribute.lower(), made, result)
    raise EnvError(
        f"environment {name!r} must be an EnvSpec, or return one or an environment with the interface of Gymnasium or of "
        f"PettingZoo; got {type(result).__name__}"
    )


def _from_batches(name: str, attribute: str, made: Any) -> EnvSpec:
    result = made(num_envs=1)
    if not is_vector(result):
        raise EnvError(
            f"environment {name!r} has a parameter num_envs, so it must return a vector environment of Gymnasium; got "
            f"{type(result).__name__}"
        )
    return from_vector(attribute.lower(), made, result)


def _from_gymnasium(environment_id: str) -> EnvSpec:
    """Environment of an id of Gymnasium's own registry; its time limit is kept here, which is faster and saved."""
    package = require("gymnasium", "gymnasium")
    factory = functools.partial(package.make, environment_id)
    try:
        first = factory()
    except package.error.Error as error:
        raise EnvError(f"gymnasium:{environment_id}: {error}") from error
    if type(first).__name__ != "TimeLimit":  # there is none, or other wrappers, which may ask for it, stand around it
        return from_gymnasium(environment_id, factory, first)
    limit = first.spec.max_episode_steps
    bare = functools.partial(factory, max_episode_steps=-1)
    return replace(from_gymnasium(environment_id, bare, first), max_episode_steps=limit)


def _from_pettingzoo(path: str) -> EnvSpec:
    """Environment of a module of PettingZoo: `parallel_env` if it has one, else `env`, whose agents take turns."""
    require("pettingzoo", "pettingzoo")
    family = path.partition(".")[0]
    try:
        with warnings.catch_warnings():  # 1.27 prefers its registry, which older ones do not have
            warnings.simplefilter("ignore", DeprecationWarning)
            module = importlib.import_module(f"pettingzoo.{path}")
        factory = getattr(module, "parallel_env", None) or module.env
        first = factory()
    except (ImportError, AttributeError) as error:  # what a family needs may be looked for only when it is made
        raise EnvError(f"pettingzoo:{path}: {error}; its family may need pip install 'pettingzoo[{family}]'") from error
    return from_population(path.rpartition(".")[2], factory, first)
