"""Bandit: pull the arm that pays most often. Rules and sources: csrc/bandit.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.errors import ConfigError
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import ByteArray, FloatArray

from pufferlib_envs._spec import native_env


@dataclass(frozen=True, kw_only=True)
class BanditConfig:
    """Settings of the bandit."""

    arms: int = option(10, "to choose from", low=1, high=512)
    best: int = option(3, "the arm that pays most often", low=0)
    high: float = option(0.8, "probability that the best arm pays", low=0.0, high=1.0)
    low: float = option(0.2, "probability that another arm pays", low=0.0, high=1.0)

    def __post_init__(self) -> None:
        if self.best >= self.arms:
            raise ConfigError(f"bandit.best={self.best} must be below bandit.arms={self.arms}")
        if self.low > self.high:
            raise ConfigError(f"bandit.low={self.low} must be at most bandit.high={self.high}")


def render_ansi(obs: FloatArray) -> str:
    """There is nothing to see but the machine."""
    return "[ $ ]"


def render_rgb(obs: FloatArray) -> ByteArray:
    """A slot machine, always the same."""
    from pufferlib_envs.render import Canvas

    canvas = Canvas(160, 200)
    canvas.box((30, 20), (110, 180), (66, 133, 244))
    canvas.box((45, 50), (95, 90), (255, 255, 255))
    canvas.line((125, 110), (125, 60), 8, (120, 120, 120))
    canvas.disc((125, 55), 10, (204, 77, 77))
    return canvas.pixels


def _shape(config: BanditConfig) -> dict[str, Any]:
    return {"action_space": Discrete(config.arms)}


SPEC = native_env(
    "bandit",
    description="pull the arm that pays most often; one step an episode",
    config=BanditConfig(),
    shape=_shape,
    obs_space=Box(0.0, 1.0, (1,)),
    max_episode_steps=0,
    render_ansi=render_ansi,
    render_rgb=render_rgb,
    preset={
        "train": {"timesteps": 50_000, "num_envs": 64},
        "ppo": {"horizon": 16, "epochs": 4, "minibatch": 256, "learning_rate": 5e-3, "gamma": 0.0},
    },
)
