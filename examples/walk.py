"""walk: the Python side of walk.c. `puffer train walk:SPEC --walk.edge 5` in this folder."""

from dataclasses import dataclass
from pathlib import Path

from pufferlib_core import Box, Discrete
from pufferlib_core.c_env import c_env
from pufferlib_core.config import option


@dataclass(frozen=True, kw_only=True)
class WalkConfig:
    """Settings; the fields of the C struct, in their order."""

    edge: int = option(10, "steps to either side that end the episode", low=2)
    max_steps: int = option(50, "the episode is cut off after so many", low=1)
    pay: float = option(1.0, "for a step to the right")


SPEC = c_env(
    Path(__file__).with_name("walk.c"),  # compiled when it has changed
    config=WalkConfig(),
    shape=lambda config: {"max_episode_steps": config.max_steps},
    obs_space=Box(-1.0, 1.0, (1,)),
    action_space=Discrete(2),
    preset={"train": {"timesteps": 40_960}, "ppo": {"learning_rate": 3e-3}},
)
