"""What every environment of this package needs of its C side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def table(name: str) -> Callable[[int], int]:
    """The function that gives the address of an environment's C table for an instruction set."""

    def address(isa: int) -> int:
        from pufferlib_envs._native import ffi, lib

        return int(ffi.cast("uintptr_t", getattr(lib, f"puf_env_table_{name}")(isa)))

    return address


def c_config(name: str, config: Any) -> bytes:
    """The C struct `puf_<name>_config` with the values of a frozen dataclass of the same fields."""
    from pufferlib_envs._native import ffi

    return bytes(ffi.buffer(ffi.new(f"puf_{name}_config *", dataclasses.asdict(config))))
