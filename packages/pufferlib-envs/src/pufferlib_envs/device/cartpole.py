"""The rules of csrc/cartpole.h as functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pufferlib_core.ops.noise import uniform

from pufferlib_envs.cartpole import CartPoleConfig

NUMBERS = ("x", "x_dot", "theta", "theta_dot")  # m, m/s, rad, rad/s


class Rules:
    """CartPole for devices; see `DeviceEnv`."""

    fields = tuple((name, "f4") for name in NUMBERS)
    draws = 2

    def __init__(self, config: CartPoleConfig) -> None:
        self._config = config

    def reset(self, words: Any, *, xp: Any) -> dict[str, Any]:
        """See `DeviceEnv`."""
        return {name: uniform(word, -0.05, 0.05, xp=xp) for name, word in zip(NUMBERS, words, strict=True)}

    def observe(self, state: Mapping[str, Any], *, xp: Any) -> Any:
        """See `DeviceEnv`."""
        return xp.stack([state[name] for name in NUMBERS[:: 1 if self._config.velocities else 2]], axis=1)

    def step(self, state: Mapping[str, Any], action: Any, *, xp: Any) -> tuple[dict[str, Any], Any, Any]:
        """See `DeviceEnv`."""
        c = self._config
        x, x_dot, theta, theta_dot = (state[name] for name in NUMBERS)
        mass, moment = c.cart_mass + c.pole_mass, c.pole_mass * c.length
        sine, cosine = xp.sin(theta), xp.cos(theta)
        push = xp.where(action == 1, xp.float32(c.force / mass), xp.float32(-c.force / mass))
        temp = push + moment / mass * sine * (theta_dot * theta_dot)
        theta_acc = (c.gravity * sine - cosine * temp) / (c.length * 4 / 3 - moment / mass * (cosine * cosine))
        x_acc = temp - moment / mass * cosine * theta_acc
        after = {
            "x": x + c.tau * x_dot,
            "x_dot": x_dot + c.tau * x_acc,
            "theta": theta + c.tau * theta_dot,
            "theta_dot": theta_dot + c.tau * theta_acc,
        }
        fallen = (xp.abs(after["x"]) > c.x_limit) | (xp.abs(after["theta"]) > c.theta_limit)
        return after, xp.ones_like(x), fallen
