"""Environments with several agents and the parallel interface of PettingZoo, as one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pufferlib_core.native import Array
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.each import Separate, made_by
from pufferlib_core.vector.roles import Roles


def is_population(value: Any) -> bool:
    """Whether an object has what PettingZoo's environments have, of both kinds; the package itself is not needed."""
    return all(hasattr(value, name) for name in ("reset", "step", "possible_agents", "observation_space", "action_space"))


def from_population(name: str, factory: Callable[[], Any], first: Any) -> EnvSpec:
    """The environment that a factory of PettingZoo's kind makes: a row for each possible agent.

    Args:
        name: what to call it.
        factory: makes one environment; turn-based if it has `agent_iter`.
        first: one that was made to look at its agents; it is closed.

    Raises:
        EnvError: if spaces are not supported, or some agents choose and others give numbers.
    """
    agents, turns = len(first.possible_agents), hasattr(first, "agent_iter")
    return made_by(name, first, lambda: Roles(first), factory=factory, agents=agents, turns=turns)


class EachParallel(Separate):
    """A `BatchEnv` of separate environments with several agents each; agent k of environment i is row i * agents + k.

    See `Separate`; an environment's mark says who is present.
    """

    def __init__(self, envs: list[Any], first: int, words: tuple[int, ...]) -> None:
        super().__init__(envs, first, words)
        self._names = list(envs[0].possible_agents)
        self._reader = Roles(envs[0])
        self.present = np.zeros(len(envs) * len(self._names), bool)
        self._marks = self.present.reshape(len(envs), -1)

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes of whole environments."""
        came = {}
        for i in np.unique(rows // len(self._names)).tolist():
            came[i], _ = self._envs[i].reset(seed=self._seeds[i])
            self._seeds[i] = None
        self._observe(came, out)

    def step(self, action: Array, out: Step) -> None:
        """One step of every environment in which somebody is left."""
        came = {}
        for i, env in enumerate(self._envs):
            acting = [(agent, row) for agent, row in self._rows(i) if self.present[row]]
            if not acting:
                continue
            came[i], rewards, terminated, truncated, infos = env.step(
                {agent: self._reader.decode(row % len(self._names), action[row]) for agent, row in acting}
            )
            there = set(env.agents)
            for agent, row in acting:
                out.reward[row] = rewards.get(agent, 0.0)
                out.cost[row] = infos.get(agent, {}).get("cost", 0.0)
                out.terminated[row] = bool(terminated.get(agent, False))
                left = agent not in there and not out.terminated[row]  # gone without a word: cut off
                out.truncated[row] = bool(truncated.get(agent, False)) or left
        self._observe(came, out)

    def _observe(self, came: dict[int, Any], out: Step) -> None:
        """Who is there, and what they see, in the environments that were stepped or reset."""
        rows, seen = [], []
        for i, observations in came.items():
            there = set(self._envs[i].agents)
            for agent, row in self._rows(i):
                self.present[row] = agent in there
                if agent in observations:
                    rows.append(row)
                    seen.append(observations[agent])
        self._reader.write(out, rows, seen)

    def _rows(self, i: int) -> Any:
        first = i * len(self._names)
        return zip(self._names, range(first, first + len(self._names)), strict=True)
