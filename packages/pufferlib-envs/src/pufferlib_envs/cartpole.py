"""CartPole-v1: balance a pole on a cart. Rules and sources: csrc/cartpole.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pufferlib_core.config import option
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import ByteArray, FloatArray, Keys

from pufferlib_envs._spec import device, native_env

X_LIMIT, THETA_LIMIT = 2.4, 12 * 2 * math.pi / 360


@dataclass(frozen=True, kw_only=True)
class CartPoleConfig:
    """Settings of CartPole; the defaults are Gymnasium's."""

    gravity: float = option(9.8, "m/s^2", low=1e-3, high=1e3)
    cart_mass: float = option(1.0, "kg", low=1e-3, high=1e3)
    pole_mass: float = option(0.1, "kg", low=1e-3, high=1e3)
    length: float = option(0.5, "half the pole's, m", low=1e-3, high=1e3)
    force: float = option(10.0, "of a push, N", low=1e-3, high=1e4)
    tau: float = option(0.02, "seconds between states", low=1e-4, high=0.5)
    x_limit: float = option(X_LIMIT, "the episode ends beyond, m", low=0.1, high=100.0)
    theta_limit: float = option(THETA_LIMIT, "the episode ends beyond, rad", low=0.06, high=1.5)
    max_steps: int = option(500, "the episode is cut off after so many", low=1)
    velocities: bool = option(True, "observations have them; hidden, they must be remembered from position to position")


def _position(obs: FloatArray) -> tuple[float, float]:
    """Numbers x and theta of an observation with or without velocities."""
    return float(obs[0]), float(obs[len(obs) // 2])


def render_ansi(obs: FloatArray) -> str:
    """Three lines: the pole's tip, the cart on its track, the numbers."""
    x, theta = _position(obs)
    width = 61
    cart = max(0, min(width - 1, round((x + X_LIMIT) / (2 * X_LIMIT) * (width - 1))))
    tip = max(0, min(width - 1, cart + round(theta / THETA_LIMIT * 6)))
    pole = [" "] * width
    pole[tip] = "o"
    track = ["-"] * width
    track[cart] = "#"
    return f"{''.join(pole)}\n{''.join(track)}\nx {x:+.3f} m   theta {math.degrees(theta):+.2f} degrees"


def render_rgb(obs: FloatArray) -> ByteArray:
    """400 x 600 picture in Gymnasium's proportions."""
    from pufferlib_envs.render import Canvas

    x, theta = _position(obs)
    scale = 600 / (2 * X_LIMIT)
    canvas = Canvas(600, 400)
    track, cart = 300.0, x * scale + 300.0
    canvas.line((0, track), (600, track), 1, (0, 0, 0))
    canvas.box((cart - 25, track - 15), (cart + 25, track + 15), (0, 0, 0))
    axle = (cart, track - 7.5)
    tip = (axle[0] + scale * math.sin(theta), axle[1] - scale * math.cos(theta))
    canvas.line(axle, tip, 10, (202, 152, 101))
    canvas.disc(axle, 5, (129, 132, 203))
    return canvas.pixels


def _shape(config: CartPoleConfig) -> dict[str, Any]:
    bound = [2 * config.x_limit, math.inf, 2 * config.theta_limit, math.inf][:: 1 if config.velocities else 2]
    return {
        "obs_space": Box([-b for b in bound], bound),
        "max_episode_steps": config.max_steps,
        "device": device("cartpole", config),
    }


SPEC = native_env(
    "cartpole",
    description="balance a pole on a cart (Gymnasium CartPole-v1)",
    config=CartPoleConfig(),
    shape=_shape,
    action_space=Discrete(2),
    render_ansi=render_ansi,
    render_rgb=render_rgb,
    keys=Keys({"left": 0, "right": 1}),
    preset={
        "train": {"timesteps": 100_000, "num_envs": 64, "stop_return": 475.0},
        "ppo": {"horizon": 32, "epochs": 4, "minibatch": 512, "learning_rate": 6e-3, "normalize_return": True},
    },
)
