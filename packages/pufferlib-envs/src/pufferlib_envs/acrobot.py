"""Acrobot-v1: swing the tip of a two-link arm above the bar. Rules and sources: csrc/acrobot.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import ByteArray, FloatArray, Keys

from pufferlib_envs._spec import native_env


@dataclass(frozen=True, kw_only=True)
class AcrobotConfig:
    """Settings of Acrobot; the defaults are Gymnasium's."""

    link_length: float = option(1.0, "of the first link, m", low=0.1, high=10.0)
    link_mass_1: float = option(1.0, "kg", low=0.1, high=10.0)
    link_mass_2: float = option(1.0, "kg", low=0.1, high=10.0)
    link_center_1: float = option(0.5, "distance of the first mass from its joint, m", low=0.1, high=10.0)
    link_center_2: float = option(0.5, "distance of the second mass from its joint, m", low=0.1, high=10.0)
    inertia: float = option(1.0, "of both links, kg m^2", low=0.1, high=10.0)
    gravity: float = option(9.8, "m/s^2", low=0.1, high=10.0)
    torque: float = option(1.0, "of an action, N m", low=0.1, high=10.0)
    tau: float = option(0.2, "seconds between states", low=1e-3, high=0.2)
    max_steps: int = option(500, "the episode is cut off after so many", low=1)


def _joints(obs: FloatArray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Elbow and tip, both links of length 1, y upwards."""
    first = math.atan2(float(obs[1]), float(obs[0]))
    both = first + math.atan2(float(obs[3]), float(obs[2]))
    elbow = (math.sin(first), -math.cos(first))
    return elbow, (elbow[0] + math.sin(both), elbow[1] - math.cos(both))


def render_ansi(obs: FloatArray) -> str:
    """The bar, the joints and the tip in eleven lines, and the numbers."""
    face = [[" "] * 43 for _ in range(11)]
    face[2] = ["-"] * 43  # the bar, one link above the first joint
    for sign, (x, y) in zip("+oO", ((0.0, 0.0), *_joints(obs)), strict=True):
        face[5 - round(2.5 * y)][21 + round(10 * x)] = sign
    picture = "\n".join("".join(row) for row in face)
    return f"{picture}\nspeeds {float(obs[4]):+.2f} {float(obs[5]):+.2f} rad/s"


def render_rgb(obs: FloatArray) -> ByteArray:
    """500 x 500 picture: both links from their joint, and the bar to reach."""
    from pufferlib_envs.render import Canvas

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return 250 + 113 * point[0], 250 - 113 * point[1]

    canvas = Canvas(500, 500)
    canvas.line((0, at((0, 1))[1]), (500, at((0, 1))[1]), 1, (0, 0, 0))
    elbow, tip = _joints(obs)
    for start, end in (((0.0, 0.0), elbow), (elbow, tip)):
        canvas.line(at(start), at(end), 18, (0, 204, 204))
        canvas.disc(at(start), 10, (204, 204, 0))
    return canvas.pixels


def _shape(config: AcrobotConfig) -> dict[str, Any]:
    return {"max_episode_steps": config.max_steps}


_HIGH = [1.0, 1.0, 1.0, 1.0, 4 * math.pi, 9 * math.pi]

SPEC = native_env(
    "acrobot",
    description="swing the tip of a two-link arm above a bar (Gymnasium Acrobot-v1)",
    config=AcrobotConfig(),
    shape=_shape,
    obs_space=Box([-b for b in _HIGH], _HIGH),
    action_space=Discrete(3),
    render_ansi=render_ansi,
    render_rgb=render_rgb,
    keys=Keys({"left": 0, "right": 2}, idle=1),
    preset={
        "train": {"timesteps": 300_000, "num_envs": 32},
        "policy": {"normalize_obs": True},
        "ppo": {"horizon": 64, "epochs": 4, "minibatch": 256, "learning_rate": 1e-3, "normalize_return": True},
    },
)
