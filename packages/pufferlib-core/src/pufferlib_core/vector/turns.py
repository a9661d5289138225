"""Environments whose agents take turns (PettingZoo's agent environment cycle, AEC), as one batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array
from pufferlib_core.traits import Step
from pufferlib_core.vector.each import Separate
from pufferlib_core.vector.roles import Roles


class EachTurns(Separate):
    """A `BatchEnv` of separate turn-based environments; agent k of environment i is row i * agents + k.

    In a step one agent of each environment acts. Everybody who is there sees the outcome (`observe(agent)`) and gets the
    reward of that step (`rewards`), whoever caused it. Agents whose episode has ended take their last turn, in which they
    do nothing, within the step that ended it. See `Separate`; an environment's mark says who is present and who acts.
    """

    def __init__(self, envs: list[Any], first: int, words: tuple[int, ...]) -> None:
        super().__init__(envs, first, words)
        self._number = {agent: k for k, agent in enumerate(envs[0].possible_agents)}
        self._reader = Roles(envs[0])
        marks = np.zeros((2, len(envs), len(self._number)), bool)
        self.present, self.acting = marks.reshape(2, -1)
        self._marks = marks.swapaxes(0, 1)

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes of whole environments."""
        chosen = np.unique(rows // len(self._number)).tolist()
        for i in chosen:
            self._envs[i].reset(seed=self._seeds[i])
            self._seeds[i] = None
            self.present[self._part(i)] = False
        self._look(chosen, out)

    def step(self, action: Array, out: Step) -> None:
        """One turn in every environment in which somebody is left."""
        out.reward.fill(0.0)
        going_on = np.flatnonzero(self.present.reshape(len(self._envs), -1).any(axis=1)).tolist()
        for i in going_on:
            env = self._envs[i]
            agent = env.agent_selection
            row = self._part(i).start + self._number[agent]
            env.step(self._reader.decode(self._number[agent], action[row]))
            out.cost[row] = env.infos.get(agent, {}).get("cost", 0.0)
            self._pay(i, out)
            while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
                self._last_turn(i, out)
        self._look(going_on, out)

    def _pay(self, i: int, out: Step) -> None:
        """The rewards of one call of step()."""
        env, first = self._envs[i], self._part(i).start
        for agent in env.agents:
            out.reward[first + self._number[agent]] += env.rewards.get(agent, 0.0)

    def _last_turn(self, i: int, out: Step) -> None:
        """An agent whose episode is over sees its last observation and leaves."""
        env = self._envs[i]
        agent = env.agent_selection
        row = self._part(i).start + self._number[agent]
        out.terminated[row], out.truncated[row] = bool(env.terminations[agent]), bool(env.truncations[agent])
        self.present[row] = False
        self._reader.write(out, [row], [env.observe(agent)])
        env.step(None)
        if agent in env.agents:
            raise EnvError(f"environment {i}: {agent!r} is over, but step(None) did not take it out of `agents`")
        self._pay(i, out)

    def _look(self, chosen: list[int], out: Step) -> None:
        """Who is there, whose turn it is, and what they see, in some environments."""
        rows, seen = [], []
        for i in chosen:
            env, part = self._envs[i], self._part(i)
            there = [part.start + self._number[agent] for agent in env.agents]
            gone = set((part.start + np.flatnonzero(self.present[part])).tolist()) - set(there)
            if gone:
                name = list(self._number)[min(gone) - part.start]
                raise EnvError(f"environment {i}: {name!r} left `agents` without `terminations` or `truncations`")
            self.present[there] = True
            self.acting[part] = False
            if there:
                self.acting[part.start + self._number[env.agent_selection]] = True
            rows += there
            seen += [env.observe(agent) for agent in env.agents]
        self._reader.write(out, rows, seen)

    def _part(self, i: int) -> slice:
        return slice(i * len(self._number), (i + 1) * len(self._number))
