"""MountainCarContinuous-v0: the mountain car with a force to choose. Rules and sources: csrc/mountain_car_continuous.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.spaces import Box
from pufferlib_core.traits import Keys

from pufferlib_envs._spec import native_env
from pufferlib_envs.mountain import mountain_ansi, mountain_rgb


@dataclass(frozen=True, kw_only=True)
class MountainCarContinuousConfig:
    """Settings of MountainCarContinuous; the defaults are Gymnasium's."""

    power: float = option(0.0015, "of the full force", low=1e-5, high=0.1)
    gravity: float = option(0.0025, "pull along the slope", low=1e-5, high=0.1)
    goal_position: float = option(0.45, "where the episode ends", low=-1.19, high=0.6)
    goal_velocity: float = option(0.0, "least velocity there", low=0.0, high=0.07)
    max_steps: int = option(999, "the episode is cut off after so many", low=1)


def _shape(config: MountainCarContinuousConfig) -> dict[str, Any]:
    goal = config.goal_position
    return {
        "max_episode_steps": config.max_steps,
        "render_ansi": mountain_ansi(goal),
        "render_rgb": mountain_rgb(goal),
    }


SPEC = native_env(
    "mountain_car_continuous",
    description="drive an underpowered car up a hill (Gymnasium MountainCarContinuous-v0)",
    config=MountainCarContinuousConfig(),
    shape=_shape,
    obs_space=Box([-1.2, -0.07], [0.6, 0.07]),
    action_space=Box(-1.0, 1.0, (1,)),
    keys=Keys({"left": -1.0, "right": 1.0}, idle=0.0),
    preset={
        "train": {"timesteps": 1_000_000, "num_envs": 16},
        "policy": {"normalize_obs": True},
        "ppo": {"horizon": 64, "epochs": 4, "minibatch": 256, "normalize_return": True, "gamma": 0.999},
    },
)  # fmt: skip
