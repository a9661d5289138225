"""What a module says of itself: environments, settings and layouts of structs, as JSON in a custom section of the file."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cffi
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.config import from_dict, to_dict
from pufferlib_core.encoders import CONVOLUTIONS
from pufferlib_core.errors import PufferError
from pufferlib_core.loops.settings import TrainConfig
from pufferlib_core.native import ffi as core
from pufferlib_core.policies import PolicyConfig
from pufferlib_core.spaces import Box, Discrete, MultiDiscrete
from pufferlib_core.traits import EnvSpec, Keys
from pufferlib_core.vector import env_spec

VERSION = 3
SECTIONS: dict[str, Any] = {"train": TrainConfig, "policy": PolicyConfig, "ppo": PPOConfig}
WEB_STRUCTS = ("puf_web_policy_config", "puf_web_ppo_config", "puf_web_progress")
CORE_STRUCTS = ("puf_env_info", "puf_episode", "puf_tensor")
INSTALLED = "pufferlib_envs._spec"  # the module whose environments the core's build has compiled
HEADER = Path(__file__).parent / "csrc/web.h"


class CatalogueError(PufferError):
    """An environment is none that a module can hold."""


def catalogue_json(environments: Iterable[str], *, memory: Mapping[str, int] | None) -> str:
    """The text of `catalogue`, the same whenever it says the same."""
    return json.dumps(catalogue(environments, memory=memory), sort_keys=True, separators=(",", ":"))


def catalogue(environments: Iterable[str], *, memory: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Plain values.

    Args:
        environments: names, in the order of the module's table.
        memory: bytes (`initial`, `maximum`, and `stack` of a worker) of the memory that threads share, which whoever makes an
            instance brings; None if it has its own.

    Returns:
        `sections`: by name, each option's kind, default, bounds, choices and help. `convolutions`: those that have a name.
        `structs`: by name, size and fields as
        [offset, kind, count]. `enums`: numbers by name. `environments`: by name, with `index` in the table; `section` has its
        settings, and `space_options` names those that shape its spaces in another way than by a size. `memory`: as given.

    Raises:
        CatalogueError: if an environment is none that a module can hold.
    """
    web = cffi.FFI()
    web.cdef("\n".join(re.findall(r"/\* <cdef> \*/\n(.*?)/\* </cdef> \*/", HEADER.read_text(), re.DOTALL)))
    return {
        "version": VERSION,
        "memory": None if memory is None else dict(memory),
        "sections": {name: _options(config()) for name, config in SECTIONS.items()},
        "convolutions": CONVOLUTIONS,
        "structs": {name: _struct(web.typeof(name)) for name in WEB_STRUCTS}
        | {name: _struct(core.typeof(name)) for name in CORE_STRUCTS},
        "enums": {
            name: {text: number for number, text in web.typeof(name).elements.items()}
            for name in ("puf_web_plane", "puf_web_array")
        },
        "environments": {name: _environment(name) | {"index": index} for index, name in enumerate(environments)},
    }


def is_installed(spec: EnvSpec) -> bool:
    """Whether it is one of pufferlib-envs, whose sources a module always has."""
    return getattr(spec.table, "__module__", "") == INSTALLED


def _environment(name: str) -> dict[str, Any]:
    from pufferlib_envs._native import ffi

    spec = env_spec(name)
    obs, action = spec.obs_space, spec.action_space
    plain = isinstance(obs, Box) and obs.dtype == "float32" and isinstance(action, Box | Discrete | MultiDiscrete)
    if spec.table is None or not plain:
        raise CatalogueError(
            f"{name}: a module holds environments in C that observe a Box of float32 and whose actions are Discrete, "
            f"MultiDiscrete or a Box; got {obs} and {action}"
        )
    return {
        "section": spec.name,
        "description": spec.description,
        "options": {} if spec.config is None else _options(spec.config),
        "struct": _struct(ffi.typeof(f"puf_{name}_config")) if is_installed(spec) else _own_struct(spec.config),
        "preset": spec.preset,
        "obs_space": obs.to_json(),
        "action_space": action.to_json(),
        "space_options": [] if spec.config is None else _space_options(spec),
        "keys": _keys(spec.playing_keys),
    }


def _own_struct(config: Any) -> dict[str, Any]:
    """Layout of the struct that `pufferlib_core.c_env.pack_struct` makes: words, one for each setting."""
    names = [] if config is None else [field.name for field in dataclasses.fields(config)]
    kinds = {name: "float" if isinstance(getattr(config, name), float) else "int32_t" for name in names}
    return {"size": 4 * len(names), "fields": {name: [4 * k, kinds[name], 1] for k, name in enumerate(names)}}


def _space_options(spec: EnvSpec) -> list[str]:
    """Settings that change spaces, tried one by one, in another way than the number of choices or of numbers that are alike."""
    default = to_dict(spec.config)
    return [
        field.name
        for field in dataclasses.fields(spec.config)
        if any(not _alike(spec, other) for other in _variants(spec, field, default[field.name]))
    ]


def _variants(spec: EnvSpec, field: dataclasses.Field[Any], value: Any) -> Iterable[EnvSpec]:
    """The environment with other values of a setting, those that are legal."""
    assert spec.configure is not None
    ends = [end for end in (field.metadata.get("low"), field.metadata.get("high")) if end is not None]
    half = value / 2 if isinstance(value, float) else value // 2
    for other in [not value] if isinstance(value, bool) else [value + 1, value * 2, value - 1, half, *ends]:
        try:
            yield spec.configure(from_dict(type(spec.config), to_dict(spec.config) | {field.name: other}, spec.name))
        except PufferError:
            continue


def _alike(one: EnvSpec, other: EnvSpec) -> bool:
    """Whether the spaces differ in sizes alone, which the module tells by itself."""
    (bounds, axes), (others, other_axes) = (_bounds(spec.obs_space) for spec in (one, other))
    sized = bounds == others and len(bounds) == 1 and axes == other_axes == 1
    kinds = type(one.action_space), type(other.action_space)
    chosen = kinds[0] is kinds[1] and kinds[0] is not Box
    return (one.obs_space == other.obs_space or sized) and (one.action_space == other.action_space or chosen)


def _bounds(space: Any) -> tuple[set[tuple[float, float]], int]:
    """The different bounds of a Box, and its number of axes."""
    return set(zip(space.low, space.high, strict=True)), len(space.shape)


def _keys(keys: Keys | None) -> dict[str, Any] | None:
    """How a person plays: the action of each key, and what happens while none is pressed; None: not by keyboard."""
    return None if keys is None else {"actions": dict(keys.actions), "idle": keys.idle}


def _options(config: Any) -> dict[str, Any]:
    """The settings of a section, with the values of `config` as defaults."""
    values, hints = to_dict(config), typing.get_type_hints(type(config))
    return {field.name: _option(field, hints[field.name], values.get(field.name)) for field in dataclasses.fields(config)}


def _option(field: dataclasses.Field[Any], hint: Any, default: Any) -> dict[str, Any]:
    kinds = [one for one in typing.get_args(hint) if one is not type(None)] if typing.get_origin(hint) else [hint]
    is_list = typing.get_origin(hint) is tuple
    said = {key: value for key, value in field.metadata.items() if value is not None and value != ()}
    return said | {"kind": kinds[0].__name__, "list": is_list, "default": default}


def _struct(kind: Any) -> dict[str, Any]:
    """Layout of a struct without pointers, which is the same on the machine that builds and in WebAssembly."""
    fields = {}
    for name, field in kind.fields:
        item = field.type.item if field.type.kind == "array" else field.type
        fields[name] = [field.offset, item.cname, field.type.length if field.type.kind == "array" else 1]
    return {"size": core.sizeof(kind), "fields": fields}
