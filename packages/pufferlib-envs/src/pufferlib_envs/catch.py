"""Catch: a ball falls, a paddle must be below it. Rules and sources: csrc/catch.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import FloatArray, Keys

from pufferlib_envs._spec import device, native_env
from pufferlib_envs.boards import board_ansi, board_rgb


@dataclass(frozen=True, kw_only=True)
class CatchConfig:
    """Settings of Catch; the defaults are bsuite's."""

    rows: int = option(10, "of the board; an episode has one step less", low=2, high=64)
    columns: int = option(5, "of the board", low=1, high=64)


def _shape(config: CatchConfig) -> dict[str, Any]:
    board = (config.rows, config.columns)
    ansi, rgb = board_ansi(*board, {1: "o", 2: "="}), board_rgb(*board, {1: (204, 77, 77), 2: (66, 133, 244)})

    def marked(obs: FloatArray) -> FloatArray:
        """The board with 2 in the bottom row, where the paddle is."""
        cells = obs.copy()
        cells[-1] *= 2
        return cells

    return {
        "obs_space": Box(0.0, 1.0, board),
        "device": device("catch", config),
        "render_ansi": lambda obs: ansi(marked(obs)),
        "render_rgb": lambda obs: rgb(marked(obs)),
    }


SPEC = native_env(
    "catch",
    description="catch a falling ball with a paddle (bsuite)",
    config=CatchConfig(),
    shape=_shape,
    action_space=Discrete(3),
    max_episode_steps=0,
    keys=Keys({"left": 0, "down": 1, "right": 2}),
    preset={
        "train": {"timesteps": 200_000, "num_envs": 64, "stop_return": 1.0},
        "ppo": {"horizon": 32, "epochs": 4, "minibatch": 512, "learning_rate": 2.5e-3, "gamma": 0.95},
    },
)
