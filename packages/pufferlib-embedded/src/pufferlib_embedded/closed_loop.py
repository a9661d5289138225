"""The environment on the device: one episode of the policy with the C that it was trained on, which must be the host's."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pufferlib_envs
from pufferlib_core.errors import ConfigError
from pufferlib_core.loops.evaluate import trained_env
from pufferlib_core.spaces import Discrete
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import vectorize

from pufferlib_embedded.emit import number
from pufferlib_embedded.model import Model
from pufferlib_embedded.sources import TEMPLATES, core_files, headers, included

SEED = 0
FOLDER = "test/env"  # of the environment's files in an export


class Episode(NamedTuple):
    """What happened on the host."""

    spec: EnvSpec
    length: int
    returned: float  # float32, summed in order


def episode(model: Model) -> Episode:
    """Plays the first episode of environment 0 of `SEED` with the policy.

    Raises:
        ConfigError: if the environment is none of `pufferlib_envs` in C.
    """
    spec = trained_env(model.env, model.checkpoint)
    if spec.table is None or not (Path(pufferlib_envs.source_dir()) / f"{spec.name}.c").is_file():
        raise ConfigError(
            f"--closed-loop runs an environment of pufferlib-envs on the device, and {model.env} is none: leave the flag out"
        )
    carry = model.no_carry()
    with contextlib.closing(vectorize(spec, num_envs=1, seed=SEED, first_stream=0)) as vec:
        obs = vec.reset().obs
        while True:
            _, choices, numbers = model.act(obs[0].ravel(), carry)
            action = choices if len(choices) else numbers
            step = vec.step(action if isinstance(spec.action_space, Discrete) else action[None])
            if step.terminated[0] or step.truncated[0]:
                return Episode(spec, int(step.log[0]["episode_length"]), float(step.log[0]["episode_return"]))
            obs = step.obs


def files(name: str, model: Model) -> dict[str, str]:
    """The C of an environment, and all that it and closed_loop.c include and `src` does not have, by the path in an export."""
    own = included(Path(pufferlib_envs.source_dir()), f"{name}.c", r'#include "(\w+\.(?:h|inl))"')
    core = headers([*own.values(), (TEMPLATES / "closed_loop.c").read_text()])
    return {f"{FOLDER}/{path}": text for path, text in (own | core).items() if path not in core_files(model.roots)}


def words(played: Episode) -> dict[str, str]:
    """What the template of closed_loop.c is filled with."""
    returned = np.float32(played.returned).view(np.uint32)
    return {
        "name": played.spec.name, "config": _config(played.spec), "length": str(played.length), "seed": str(SEED),
        "returned": f"0x{returned:08X}u",
    }  # fmt: skip


def _config(spec: EnvSpec) -> str:
    """The environment's settings as the initialiser of its C struct."""
    from pufferlib_envs._native import ffi

    kind = f"puf_{spec.name}_config"
    values = ffi.from_buffer(f"{kind} *", spec.c_config)
    texts = []
    for name, _ in ffi.typeof(kind).fields:
        value: Any = getattr(values, name)
        texts.append(f".{name} = {number(value) if isinstance(value, float) else value}")
    return f"{{{', '.join(texts)}}}"
