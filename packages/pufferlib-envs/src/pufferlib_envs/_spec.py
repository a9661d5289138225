"""What every environment of this package needs to become an `EnvSpec`."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

from pufferlib_core.traits import DeviceEnv, EnvSpec, configurable


def native_env(name: str, *, config: Any, shape: Callable[[Any], dict[str, Any]], **fixed: Any) -> EnvSpec:
    """The specification of an environment with a C table `puf_env_table_<name>` and a C struct `puf_<name>_config`.

    Args:
        name: of the environment.
        config: its default settings, a frozen dataclass whose fields are those of the C struct.
        shape: the fields of `EnvSpec` that follow from settings: spaces, time limit, renderers.
        **fixed: the other fields.
    """
    pack = functools.partial(c_config, name)
    return configurable(name, config=config, shape=shape, pack=pack, table=table(name), **fixed)


def table(name: str) -> Callable[[int], int]:
    """The function that gives the address of an environment's C table for an instruction set."""

    def address(isa: int) -> int:
        from pufferlib_envs._native import ffi, lib

        return int(ffi.cast("uintptr_t", getattr(lib, f"puf_env_table_{name}")(isa)))

    return address


def device(name: str, config: Any) -> Callable[[], DeviceEnv]:
    """What makes the form for devices of an environment with these settings, `pufferlib_envs.device.<name>.Rules(config)`."""

    def rules() -> DeviceEnv:
        made: DeviceEnv = importlib.import_module(f"pufferlib_envs.device.{name}").Rules(config)
        return made

    return rules


def c_config(name: str, config: Any) -> bytes:
    """The C struct `puf_<name>_config` with the values of a frozen dataclass of the same fields."""
    from pufferlib_envs._native import ffi

    return bytes(ffi.buffer(ffi.new(f"puf_{name}_config *", dataclasses.asdict(config))))
