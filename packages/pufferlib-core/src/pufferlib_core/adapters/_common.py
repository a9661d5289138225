"""What the adapters share: names, seeds, actions and drawings."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from pufferlib_core.errors import ConfigError, ShapeError, UnknownName
from pufferlib_core.native import Array
from pufferlib_core.spaces import Flat, Mixed
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import VecEnv, env_spec

RENDER_FPS = 50  # as `puffer demo` shows them


def resolve(env: str | EnvSpec, config: Mapping[str, Any] | None) -> EnvSpec:
    """The environment of a name and its settings, or the one that came.

    Raises:
        UnknownName: if there is no such environment.
        ConfigError: if a setting is not legal, settings come with an `EnvSpec`, which has its own, or the environment has
            several agents, nested observations or actions that mix choices and numbers.
    """
    spec = env_spec(env, config) if isinstance(env, str) else env
    if spec is env and config:
        raise ConfigError(f"{spec.name}: config goes with a name; this EnvSpec has its settings already")
    if spec.agents > 1 or not isinstance(spec.obs_space, Flat):
        raise ConfigError(f"{spec.name}: adapters are for environments of one agent with flat observations")
    if isinstance(spec.action_space, Mixed):
        raise ConfigError(f"{spec.name}: adapters do not take actions that mix choices and numbers")
    return spec


def fresh_seed() -> int:
    """A seed that nobody knows: these interfaces promise a random start to those who give none."""
    return secrets.randbits(31)


def cast_action(vec: VecEnv, action: Any) -> Array:
    """The action (N, ...) in the dtype of our environments; others use int64 for choices.

    Raises:
        ShapeError: if it has another shape, or numbers that do not fit.
    """
    try:
        given = np.asarray(action)
    except ValueError as error:  # rows of different shapes
        raise ShapeError(f"action must have shape {vec.action_shape}: {error}") from error
    if given.shape != vec.action_shape or not np.can_cast(given.dtype, vec.action_dtype, "same_kind"):
        raise ShapeError(f"action must be {vec.action_dtype} {vec.action_shape}, got {given.dtype} {given.shape}")
    result = np.ascontiguousarray(given, vec.action_dtype)
    if result.dtype.kind == "i" and not np.array_equal(result, given):
        raise ShapeError(f"action must fit {result.dtype}, got {given[result != given].flat[0]}")
    return result


def render_modes(spec: EnvSpec) -> list[str]:
    """The drawings that the environment has."""
    drawings = {"ansi": spec.render_ansi, "rgb_array": spec.render_rgb}
    return [mode for mode, function in drawings.items() if function is not None]


def check_render_mode(spec: EnvSpec, mode: str | None) -> str | None:
    """The mode, if the environment draws itself so.

    Raises:
        UnknownName: if not.
    """
    if mode is not None and mode not in render_modes(spec):
        raise UnknownName(f"render mode of {spec.name}", mode, render_modes(spec))
    return mode
