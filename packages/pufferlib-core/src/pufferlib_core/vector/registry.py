"""Environments by name: installed ones, and `module:attribute` of a user."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

from pufferlib_core.config import from_dict, settings_of, to_dict
from pufferlib_core.errors import ConfigError, EnvError, PufferError, UnknownName, require, suggest
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
        EnvError: if two packages bring it, its module or factory fails, or the factory gives something else.
        ConfigError: if a setting is unknown or not legal, or the module or the attribute is not named.
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
    if not module or module.startswith(".") or not attribute:
        raise ConfigError(f"environment {name!r} must be module:attribute, the module by its whole name, like my_walk:SPEC")
    with _blamed(f"environment {name!r} cannot be made"):
        if module == "gymnasium":
            return _from_gymnasium(attribute)
        if module == "pettingzoo":
            return _from_pettingzoo(attribute)
    with _blamed(f"environment {name!r} cannot be imported"):
        made = _attribute(name, module, attribute)
    if callable(made) and takes_num_envs(made):
        return _from_batches(name, attribute, made)
    with _blamed(f"environment {name!r} cannot be made by {attribute}()"):
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


def _attribute(name: str, module: str, attribute: str) -> Any:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and one of its own imports is not
        raise EnvError(f"environment {name!r}: no module named {error.name!r}") from error
    try:
        return getattr(found, attribute)
    except AttributeError as error:
        raise EnvError(f"environment {name!r}: {module} has no {attribute!r}{suggest(attribute, dir(found))}") from error


@contextlib.contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Makes one EnvError of what a user's code raises: `what`, the type, the last line of the user's, and the message."""
    try:
        yield
    except PufferError:
        raise
    except Exception as error:
        place, message = _place(error), " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        kind = type(error).__name__ + (f" at {place}" if place else "")
        raise EnvError(f"{what}: {kind}{': ' if message else ''}{message}") from error


def _place(error: Exception) -> str:
    """`file:line` of the last line outside installed packages that led to an error, or in them; nothing if it was our call."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    between = __file__, contextlib.__file__, importlib.__file__, "<frozen "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(between)]
    installed = tuple(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    own = [frame for frame in frames if not frame.filename.startswith(installed)] or frames
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def _from_batches(name: str, attribute: str, made: Any) -> EnvSpec:
    with _blamed(f"environment {name!r} cannot be made by {attribute}(num_envs=1)"):
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
