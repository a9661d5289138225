"""DeepSea: a chain that only deliberate exploration solves. Rules and sources: csrc/deep_sea.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.spaces import Box, Discrete

from pufferlib_envs._spec import native_env
from pufferlib_envs.boards import board_ansi, board_rgb


@dataclass(frozen=True, kw_only=True)
class DeepSeaConfig:
    """Settings of DeepSea."""

    size: int = option(10, "rows and columns; an episode has as many steps", low=2, high=64)
    map_seed: int = option(0, "of the map that says which action goes right in which cell", low=0, high=2**32 - 1)


def _shape(config: DeepSeaConfig) -> dict[str, Any]:
    board = (config.size, config.size)
    return {
        "obs_space": Box(0.0, 1.0, (config.size * config.size,)),
        "render_ansi": board_ansi(*board, {1: "@"}),
        "render_rgb": board_rgb(*board, {1: (66, 133, 244)}),
    }


SPEC = native_env(
    "deep_sea",
    description="dive to the far corner, against a cost for every step towards it (bsuite)",
    config=DeepSeaConfig(),
    shape=_shape,
    action_space=Discrete(2),
    max_episode_steps=0,
    preset={
        "train": {"timesteps": 200_000, "num_envs": 64},
        "ppo": {"horizon": 32, "epochs": 4, "minibatch": 512, "learning_rate": 2.5e-3},
    },
)
