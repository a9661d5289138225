"""Pendulum-v1: swing a pendulum up and hold it. Rules and sources: csrc/pendulum.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.spaces import Box
from pufferlib_core.traits import ByteArray, FloatArray, Keys

from pufferlib_envs._spec import device, native_env


def render_ansi(obs: FloatArray) -> str:
    """A small clock face with the pendulum's bob, and the numbers."""
    cosine, sine, speed = (float(number) for number in obs)
    face = [[" "] * 21 for _ in range(11)]
    face[5][10] = "+"
    face[5 - round(5 * cosine)][10 - round(10 * sine)] = "O"  # positive angles lean to the left, as in Gymnasium
    picture = "\n".join("".join(row) for row in face)
    return f"{picture}\ntheta {math.degrees(math.atan2(sine, cosine)):+.1f} degrees   speed {speed:+.2f} rad/s"


def render_rgb(obs: FloatArray) -> ByteArray:
    """500 x 500 picture: the rod from its axle; upright is up."""
    from pufferlib_envs.render import Canvas

    cosine, sine, _ = (float(number) for number in obs)
    canvas = Canvas(500, 500)
    middle = (250.0, 250.0)
    tip = (250 - 114 * sine, 250 - 114 * cosine)
    canvas.line(middle, tip, 22, (204, 77, 77))
    canvas.disc(middle, 11, (204, 77, 77))
    canvas.disc(tip, 11, (204, 77, 77))
    canvas.disc(middle, 5, (0, 0, 0))
    return canvas.pixels


@dataclass(frozen=True, kw_only=True)
class PendulumConfig:
    """Settings of Pendulum; the defaults are Gymnasium's."""

    gravity: float = option(10.0, "m/s^2", low=1e-3, high=1e3)
    mass: float = option(1.0, "kg", low=1e-3, high=1e3)
    length: float = option(1.0, "m", low=1e-3, high=1e3)
    max_torque: float = option(2.0, "N m", low=1e-3, high=1e3)
    max_speed: float = option(8.0, "rad/s", low=1e-3, high=60.0)
    tau: float = option(0.05, "seconds between states", low=1e-4, high=0.1)
    max_steps: int = option(200, "the episode is cut off after so many", low=1)


def _shape(config: PendulumConfig) -> dict[str, Any]:
    return {
        "obs_space": Box([-1.0, -1.0, -config.max_speed], [1.0, 1.0, config.max_speed]),
        "action_space": Box(-config.max_torque, config.max_torque, (1,)),
        "max_episode_steps": config.max_steps,
        "device": device("pendulum", config),
    }


SPEC = native_env(
    "pendulum",
    description="swing a pendulum up and hold it (Gymnasium Pendulum-v1)",
    config=PendulumConfig(),
    shape=_shape,
    render_ansi=render_ansi,
    render_rgb=render_rgb,
    keys=Keys({"left": 2.0, "right": -2.0}, idle=0.0),
    preset={
        "train": {"timesteps": 300_000, "num_envs": 32},
        "policy": {"normalize_obs": True, "separate": True},
        "ppo": {"horizon": 64, "epochs": 10, "minibatch": 256, "learning_rate": 1e-3, "gamma": 0.9,
                "normalize_return": True},
    },
)  # fmt: skip
