"""CartPole-v1: balance a pole on a cart. Rules and sources: csrc/cartpole.h."""

from __future__ import annotations

import math

from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import ByteArray, EnvSpec, FloatArray

X_LIMIT, THETA_LIMIT = 2.4, 12 * 2 * math.pi / 360


def _table(isa: int) -> int:
    from pufferlib_envs._native import ffi, lib

    return int(ffi.cast("uintptr_t", lib.puf_env_table_cartpole(isa)))


def render_ansi(obs: FloatArray) -> str:
    """Three lines: the pole's tip, the cart on its track, the numbers."""
    x, _, theta, _ = (float(number) for number in obs)
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

    x, _, theta, _ = (float(number) for number in obs)
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


SPEC = EnvSpec(
    name="cartpole",
    description="balance a pole on a cart (Gymnasium CartPole-v1)",
    obs_space=Box([-2 * X_LIMIT, -math.inf, -2 * THETA_LIMIT, -math.inf], [2 * X_LIMIT, math.inf, 2 * THETA_LIMIT, math.inf]),
    action_space=Discrete(2),
    max_episode_steps=500,
    table=_table,
    render_ansi=render_ansi,
    render_rgb=render_rgb,
    preset={
        "train": {"timesteps": 100_000, "num_envs": 64, "stop_return": 475.0},
        "ppo": {"horizon": 32, "epochs": 4, "minibatch": 512, "learning_rate": 6e-3, "normalize_return": True},
    },
)
