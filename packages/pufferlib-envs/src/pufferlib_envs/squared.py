"""Squared: walk to a target on the edge of a board. Rules and sources: csrc/squared.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import Keys

from pufferlib_envs._spec import device, native_env
from pufferlib_envs.boards import board_ansi, board_rgb


@dataclass(frozen=True, kw_only=True)
class SquaredConfig:
    """Settings of Squared."""

    distance: int = option(3, "cells from the middle to the edge", low=1, high=32)


def _shape(config: SquaredConfig) -> dict[str, Any]:
    side = 2 * config.distance + 1
    return {
        "obs_space": Box(-1.0, 1.0, (side * side,)),
        "max_episode_steps": 4 * config.distance,
        "device": device("squared", config),
        "render_ansi": board_ansi(side, side, {1: "x", -1: "@"}),
        "render_rgb": board_rgb(side, side, {1: (52, 168, 83), -1: (66, 133, 244)}),
    }


SPEC = native_env(
    "squared",
    description="walk to a target on the edge of a board",
    config=SquaredConfig(),
    shape=_shape,
    action_space=Discrete(8),
    keys=Keys({"up": 0, "e": 1, "right": 2, "c": 3, "down": 4, "z": 5, "left": 6, "q": 7}),
    preset={
        "train": {"timesteps": 300_000, "num_envs": 256},
        "policy": {"activation": "relu"},
        "ppo": {
            "horizon": 16,
            "epochs": 4,
            "minibatch": 1024,
            "learning_rate": 1.5e-3,
            "gamma": 0.95,
            "entropy_coef": 0.05,
        },
    },
)
