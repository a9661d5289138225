"""What a module says of itself: environments, settings and layouts of structs, as JSON in a custom section of the file."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cffi
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.config import to_dict
from pufferlib_core.loops.settings import TrainConfig
from pufferlib_core.native import ffi as core
from pufferlib_core.policies import PolicyConfig
from pufferlib_core.spaces import fingerprint
from pufferlib_core.traits import Keys
from pufferlib_core.vector import env_spec

VERSION = 1
SECTIONS: dict[str, Any] = {"train": TrainConfig, "policy": PolicyConfig, "ppo": PPOConfig}
WEB_STRUCTS = ("puf_web_policy_config", "puf_web_ppo_config", "puf_web_progress")
CORE_STRUCTS = ("puf_env_info", "puf_episode", "puf_tensor")
HEADER = Path(__file__).parent / "csrc/web.h"


def catalogue_json(environments: Iterable[str]) -> str:
    """The text of `catalogue`, the same whenever it says the same."""
    return json.dumps(catalogue(environments), sort_keys=True, separators=(",", ":"))


def catalogue(environments: Iterable[str]) -> dict[str, Any]:
    """Plain values.

    Args:
        environments: names, in the order of the module's table.

    Returns:
        `sections`: by name, each option's kind, default, bounds, choices and help. `structs`: by name, size and fields as
        [offset, kind, count]. `enums`: numbers by name. `environments`: by name, with `index` in the table.
    """
    web = cffi.FFI()
    web.cdef("\n".join(re.findall(r"/\* <cdef> \*/\n(.*?)/\* </cdef> \*/", HEADER.read_text(), re.DOTALL)))
    return {
        "version": VERSION,
        "sections": {name: _options(config()) for name, config in SECTIONS.items()},
        "structs": {name: _struct(web.typeof(name)) for name in WEB_STRUCTS}
        | {name: _struct(core.typeof(name)) for name in CORE_STRUCTS},
        "enums": {
            name: {text: number for number, text in web.typeof(name).elements.items()}
            for name in ("puf_web_plane", "puf_web_array")
        },
        "environments": {name: _environment(name) | {"index": index} for index, name in enumerate(environments)},
    }


def _environment(name: str) -> dict[str, Any]:
    from pufferlib_envs._native import ffi

    spec = env_spec(name)
    return {
        "description": spec.description,
        "options": _options(spec.config),
        "struct": _struct(ffi.typeof(f"puf_{name}_config")),
        "preset": spec.preset,
        "obs_space": spec.obs_space.to_json(),
        "action_space": spec.action_space.to_json(),
        "space_fingerprint": fingerprint(*spec.spaces),
        "keys": _keys(spec.playing_keys),
    }


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
