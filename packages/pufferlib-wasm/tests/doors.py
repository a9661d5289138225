"""The environment of doors.c, `doors:SPEC`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pufferlib_core.c_env import c_env
from pufferlib_core.config import option
from pufferlib_core.spaces import Box, MultiDiscrete


@dataclass(frozen=True, kw_only=True)
class DoorsConfig:
    """Settings; the order is that of the C struct."""

    max_steps: int = option(12, "of an episode", low=1)
    prize: float = option(1.0, "reward for the right door")
    sees_last: bool = option(True, "observations tell the door that is shut")
    scale: float = option(1.0, "of observations", low=0.1)


def shape(config: DoorsConfig) -> dict[str, Any]:
    """What follows from settings."""
    high = [config.scale] * (3 if config.sees_last else 2)
    return {"obs_space": Box([-b for b in high], high), "max_episode_steps": config.max_steps}


SPEC = c_env(Path(__file__).with_name("doors.c"), config=DoorsConfig(), shape=shape, action_space=MultiDiscrete([3, 2]))
