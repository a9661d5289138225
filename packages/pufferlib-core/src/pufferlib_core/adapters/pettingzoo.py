"""Our environments with the interface of PettingZoo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pufferlib_core.adapters._common import RENDER_FPS, cast_action, check_render_mode, fresh_seed, render_modes, resolve
from pufferlib_core.errors import EnvError, require
from pufferlib_core.native import Array
from pufferlib_core.spaces import to_gymnasium
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector import vectorize

if TYPE_CHECKING:
    import pettingzoo
else:
    pettingzoo = require("pettingzoo", "pettingzoo")


class PettingZooParallel(pettingzoo.ParallelEnv[str, Array, Any]):
    """N environments of one kind as N agents `agent_0` .. of a `pettingzoo.ParallelEnv`.

    The agents **do not interact**: each has an environment of its own, in which it is alone. This serves programs that only
    take parallel environments. An agent leaves when its episode ends. `infos` hold `cost`, and `action_mask` (choices,)
    where the environment has masks.

    Args:
        env: a name, as for `make_vec`, or an `EnvSpec`.
        num_envs: N.
        render_mode: `ansi`, `rgb_array` or None, as far as the environment draws itself.
        config: settings of the environment itself.
        threads: see `vectorize`.

    Raises:
        UnknownName: if there is no such environment or drawing.
        ConfigError: if a number or setting is out of range.
    """

    def __init__(
        self,
        env: str | EnvSpec,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        config: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        spec = resolve(env, config)
        self._vec = vectorize(spec, num_envs=num_envs, threads=threads, autoreset="disabled", seed=fresh_seed())
        self.render_mode = check_render_mode(spec, render_mode)
        self.metadata = {"name": spec.name, "render_modes": render_modes(spec), "render_fps": RENDER_FPS}
        self.possible_agents = [f"agent_{i}" for i in range(num_envs)]
        self.agents: list[str] = []
        self._row = {agent: i for i, agent in enumerate(self.possible_agents)}
        # one object for each agent: their random streams are apart
        self.observation_spaces = {agent: to_gymnasium(spec.obs_space) for agent in self.possible_agents}
        self.action_spaces = {agent: to_gymnasium(spec.action_space) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Any:
        """What this agent sees: the same object at each call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """What this agent does: the same object at each call."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
        """New episodes for all agents; `options` are ignored, our environments have none."""
        step = self._vec.reset(seed)
        self.agents = self.possible_agents.copy()
        return self._obs(step, self.agents), self._infos(step, self.agents)

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Array], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """One step of the agents that are left; those whose episode ends are not in `agents` any more.

        Raises:
            EnvError: before the first reset, if an agent that is left has no action, or if one is out of range.
            ShapeError: if an action has the wrong shape or dtype.
        """
        agents = self.agents
        missing = [agent for agent in agents if agent not in actions]
        if missing:
            raise EnvError(f"{self._vec.spec.name}: no action of {', '.join(missing)}")
        step = self._vec.step(self._rows(actions))
        row = self._row
        terminated = {agent: bool(step.terminated[row[agent]]) for agent in agents}
        truncated = {agent: bool(step.truncated[row[agent]]) for agent in agents}
        rewards = {agent: float(step.reward[row[agent]]) for agent in agents}
        self.agents = [agent for agent in agents if not terminated[agent] and not truncated[agent]]
        return self._obs(step, agents), rewards, terminated, truncated, self._infos(step, agents)

    def render(self) -> Any:
        """The drawing of `agent_0`: text, uint8 (height, width, 3), or None."""
        return None if self.render_mode is None else self._vec.render(0, self.render_mode)

    def close(self) -> None:
        """Ends the use of the environments; calling it again does nothing."""
        self._vec.close()

    def _rows(self, actions: Mapping[str, Any]) -> Array:
        """One row for each environment; those without an agent ignore theirs."""
        idle = np.zeros(self._vec.action_shape[1:], self._vec.action_dtype)
        left = set(self.agents)
        return cast_action(self._vec, [np.asarray(actions[agent]) if agent in left else idle for agent in self.possible_agents])

    def _obs(self, step: Step, agents: list[str]) -> dict[str, Array]:
        return {agent: np.array(step.obs[self._row[agent]], self.observation_spaces[agent].dtype) for agent in agents}

    def _infos(self, step: Step, agents: list[str]) -> dict[str, dict[str, Any]]:
        infos: dict[str, dict[str, Any]] = {agent: {"cost": float(step.cost[self._row[agent]])} for agent in agents}
        if step.action_mask is not None:
            for agent, info in infos.items():
                info["action_mask"] = step.action_mask[self._row[agent]].copy()
        return infos
