"""The rules of csrc/pendulum.h as functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pufferlib_core.ops.noise import uniform

from pufferlib_envs.pendulum import PendulumConfig


class Rules:
    """Pendulum for devices; see `DeviceEnv`."""

    fields = (("theta", "f4"), ("theta_dot", "f4"))  # rad, rad/s
    draws = 1

    def __init__(self, config: PendulumConfig) -> None:
        self._config = config

    def reset(self, words: Any, *, xp: Any) -> dict[str, Any]:
        """See `DeviceEnv`."""
        return {"theta": uniform(words[0], -math.pi, math.pi, xp=xp), "theta_dot": uniform(words[1], -1.0, 1.0, xp=xp)}

    def observe(self, state: Mapping[str, Any], *, xp: Any) -> Any:
        """See `DeviceEnv`."""
        return xp.stack([xp.cos(state["theta"]), xp.sin(state["theta"]), state["theta_dot"]], axis=1)

    def step(self, state: Mapping[str, Any], action: Any, *, xp: Any) -> tuple[dict[str, Any], Any, Any]:
        """See `DeviceEnv`."""
        c = self._config
        theta, theta_dot = state["theta"], state["theta_dot"]
        torque = xp.clip(action[:, 0], -c.max_torque, c.max_torque)
        reward = -(theta * theta + 0.1 * (theta_dot * theta_dot) + 0.001 * (torque * torque))
        gain = 3 / (c.mass * c.length * c.length)
        acceleration = 1.5 * c.gravity / c.length * xp.sin(theta) + gain * torque
        theta_dot = xp.clip(theta_dot + acceleration * c.tau, -c.max_speed, c.max_speed)
        theta = theta + theta_dot * c.tau
        turns = xp.round(theta / (2 * math.pi))
        theta = (theta - turns * 6.28125) - turns * 1.9353071795864e-3  # 2 pi in two parts
        return {"theta": theta, "theta_dot": theta_dot}, reward, xp.zeros(len(theta), dtype=bool)
