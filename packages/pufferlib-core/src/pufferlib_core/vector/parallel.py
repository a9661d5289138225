"""Environments with several agents and the parallel interface of PettingZoo, as one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pufferlib_core.emulation import ActionTree
from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array
from pufferlib_core.spaces import from_gymnasium
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.each import Reader, Separate, made_by


def is_parallel(value: Any) -> bool:
    """Whether an object has what PettingZoo's parallel environments have; the package itself is not needed."""
    return all(hasattr(value, name) for name in ("reset", "step", "possible_agents", "observation_space", "action_space"))


def from_parallel(name: str, factory: Callable[[], Any], first: Any) -> EnvSpec:
    """The environment that a factory of PettingZoo's kind makes: a row for each possible agent.

    Args:
        name: what to call it.
        factory: makes one environment.
        first: one that was made to look at its agents; it is closed.

    Raises:
        EnvError: if it is turn-based, or its agents differ in their spaces, or spaces are not supported.
    """
    if hasattr(first, "agent_iter"):
        raise EnvError(f"{name}: agents take turns; pass its parallel_env, or one made by pettingzoo.utils.aec_to_parallel")
    spaces = [(first.observation_space(agent), first.action_space(agent)) for agent in first.possible_agents]
    return made_by(name, first, spaces, factory=factory)


class EachParallel(Separate):
    """A `BatchEnv` of separate environments with several agents each; agent k of environment i is row i * agents + k.

    See `Separate`; an environment's mark says who is present.
    """

    def __init__(self, factory: Callable[[], Any], count: int, first: int, words: tuple[int, ...]) -> None:
        super().__init__(factory, count, first, words)
        self._names = list(self._envs[0].possible_agents)
        self._actions = ActionTree(from_gymnasium(self._envs[0].action_space(self._names[0])))
        self._reader = Reader(from_gymnasium(self._envs[0].observation_space(self._names[0])), self._actions.space)
        self.present = np.zeros(count * len(self._names), bool)
        self._marks = self.present.reshape(count, -1)

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes of whole environments."""
        for i in np.unique(rows // len(self._names)).tolist():
            observations, _ = self._envs[i].reset(seed=self._seeds[i])
            self._seeds[i] = None
            self._observe(i, observations, out)

    def step(self, action: Array, out: Step) -> None:
        """One step of every environment in which somebody is left."""
        for i, env in enumerate(self._envs):
            acting = [(agent, row) for agent, row in self._rows(i) if self.present[row]]
            if not acting:
                continue
            observations, rewards, terminated, truncated, infos = env.step(
                {agent: self._actions.decode(action[row]) for agent, row in acting}
            )
            self._observe(i, observations, out)
            for agent, row in acting:
                out.reward[row] = rewards.get(agent, 0.0)
                out.cost[row] = infos.get(agent, {}).get("cost", 0.0)
                out.terminated[row] = bool(terminated.get(agent, False))
                left = not self.present[row] and not out.terminated[row]  # gone without a word: cut off
                out.truncated[row] = bool(truncated.get(agent, False)) or left

    def _observe(self, i: int, observations: Any, out: Step) -> None:
        there = set(self._envs[i].agents)
        rows = dict(self._rows(i))
        for agent, row in rows.items():
            self.present[row] = agent in there
        seen = [agent for agent in rows if agent in observations]
        self._reader.write(out, [rows[agent] for agent in seen], [observations[agent] for agent in seen])

    def _rows(self, i: int) -> Any:
        first = i * len(self._names)
        return zip(self._names, range(first, first + len(self._names)), strict=True)
