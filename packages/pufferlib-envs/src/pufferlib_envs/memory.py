"""Memory: name a symbol that was shown some steps ago. Rules and sources: csrc/memory.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pufferlib_core.config import option
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import ByteArray, FloatArray

from pufferlib_envs._spec import native_env


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Settings of Memory."""

    length: int = option(4, "steps between the symbol and the question; 0: both at once", low=0, high=1_000_000)
    symbols: int = option(2, "that may be shown", low=2, high=64)


def render_ansi(obs: FloatArray) -> str:
    """The symbol that is shown (a letter), or a dot, and a question mark when it is asked for."""
    shown = chr(ord("A") + int(np.argmax(obs[:-1]))) if obs[:-1].any() else "."
    return f"{shown} {'?' if obs[-1] else ' '}"


def render_rgb(obs: FloatArray) -> ByteArray:
    """A lamp for each symbol, and one below that asks."""
    from pufferlib_envs.render import Canvas

    symbols = len(obs) - 1
    canvas = Canvas(40 * symbols, 80)
    for k in range(symbols):
        canvas.disc((20.0 + 40 * k, 20.0), 14, (251, 188, 4) if obs[k] else (218, 220, 224))
    canvas.disc((20.0 * symbols, 60.0), 14, (52, 168, 83) if obs[-1] else (218, 220, 224))
    return canvas.pixels


def _shape(config: MemoryConfig) -> dict[str, Any]:
    return {"obs_space": Box(0.0, 1.0, (config.symbols + 1,)), "action_space": Discrete(config.symbols)}


SPEC = native_env(
    "memory",
    description="name a symbol that was shown some steps ago; needs a policy with memory",
    config=MemoryConfig(),
    shape=_shape,
    max_episode_steps=0,
    render_ansi=render_ansi,
    render_rgb=render_rgb,
    preset={
        "train": {"timesteps": 100_000, "num_envs": 64},
        "ppo": {"horizon": 32, "epochs": 4, "minibatch": 512, "learning_rate": 2.5e-3},
    },
)
