"""Agents that differ in their spaces, in rows and heads that hold those of all (the idea of SuperSuit's padding).

Agents with equal spaces share a role.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from pufferlib_core.emulation import ActionTree, SpaceTree
from pufferlib_core.errors import SpaceError
from pufferlib_core.native import Array
from pufferlib_core.spaces import Box, Dict, Discrete, Flat, Mixed, MultiDiscrete, Space, Tuple
from pufferlib_core.spaces import from_gymnasium as space_from_gymnasium
from pufferlib_core.traits import ActionSpace, Step
from pufferlib_core.vector.base import clipped, finite_bounds
from pufferlib_core.vector.each import Reader


class Roles:
    """How observations of several agents become rows, and rows of actions their actions.

    Where all agents have the same spaces, a row is what it is with one agent. Otherwise it is a Dict of `role` (which of
    the kinds of agents) and `role0`, `role1`, ... (the observation of each kind, zeros where it is another's). The action
    has as many components as the role with the most, of as many choices as any role has; a mask allows those that
    the role has, and choice 0 in components that it has not. Numbers that a role has not are ignored.

    Args:
        env: with the interface of PettingZoo.

    Raises:
        SpaceError: if a space is not supported, or some roles choose and others give numbers.
    """

    def __init__(self, env: Any) -> None:
        spaces = [
            tuple(space_from_gymnasium(space(agent)) for space in (env.observation_space, env.action_space))
            for agent in env.possible_agents
        ]
        kinds = list(dict.fromkeys(spaces))
        self._role = [kinds.index(pair) for pair in spaces]  # of each agent
        self._actions = [ActionTree(action) for _, action in kinds]
        self._readers = [Reader(obs, actions.space) for (obs, _), actions in zip(kinds, self._actions, strict=True)]
        self.action_space = _union([actions.space for actions in self._actions])
        self._bounds: list[Any] = [None]  # kept here where roles differ; otherwise whoever calls has kept them
        if len(kinds) == 1:
            self.tree, self.masks = self._readers[0].tree, self._readers[0].masks
            return
        parts = {f"role{k}": _with_zeros(reader.tree.space) for k, reader in enumerate(self._readers)}
        self.tree = SpaceTree(Dict({"role": Discrete(len(kinds)), **parts}))
        self._bounds = [finite_bounds(actions.space) for actions in self._actions]
        self._blank = self.tree.empty(len(kinds))
        self._blank["role"] = np.arange(len(kinds))
        self._choices = [_choices(actions.space, self.action_space) for actions in self._actions]
        self.masks = not isinstance(self.action_space, Box)

    def decode(self, agent: int, action: Array) -> Any:
        """The action of an agent, by its number within the environment, from a row of the action plane."""
        tree, bounds = self._actions[self._role[agent]], self._bounds[self._role[agent]]
        if not isinstance(tree.space, Mixed):
            action = np.atleast_1d(action)[: tree.space.size].reshape(tree.space.shape)
        return tree.decode(clipped(action, bounds))

    def write(self, out: Step, which: list[int], values: list[Any]) -> None:
        """Puts observations, and masks where there are any, into rows; row n is agent n % agents."""
        if len(self._readers) == 1:
            self._readers[0].write(out, which, values)
            return
        for role, reader in enumerate(self._readers):
            own = [k for k, row in enumerate(which) if self._role[row % len(self._role)] == role]
            if own:
                self._write(role, reader, out, [which[k] for k in own], [values[k] for k in own])

    def _write(self, role: int, reader: Reader, out: Step, rows: list[int], values: list[Any]) -> None:
        out.obs[rows] = self._blank[role]
        reader.write_obs(out.obs[f"role{role}"], rows, values)
        if self.masks:
            assert out.action_mask is not None
            own, missing = self._choices[role]
            out.action_mask[rows] = 0
            out.action_mask[np.ix_(rows, missing)] = 1
            out.action_mask[np.ix_(rows, own)] = reader.allowed(values) if reader.masks else 1


def _union(spaces: Sequence[ActionSpace]) -> ActionSpace:
    """An action space with room for each of those of several roles."""
    if len(set(spaces)) == 1:
        return spaces[0]
    boxes = [space for space in spaces if isinstance(space, Box)]
    if (len(boxes) < len(spaces) and boxes) or any(isinstance(space, Mixed) for space in spaces):
        raise SpaceError(f"some of its agents choose and others give numbers, which is not supported: {list(spaces)}")
    if boxes:  # each role clips to its own bounds
        low = [min(bounds) for bounds in _columns([box.low for box in boxes])]
        high = [max(bounds) for bounds in _columns([box.high for box in boxes])]
        return Box(low, high)
    largest = [max(ns) for ns in _columns([space.nvec for space in spaces if not isinstance(space, Box)])]
    return Discrete(largest[0]) if all(isinstance(space, Discrete) for space in spaces) else MultiDiscrete(largest)


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Component k of every row that has one."""
    return [[x for x in column if x is not None] for column in zip_longest(*rows)]


def _choices(own: ActionSpace, union: ActionSpace) -> tuple[list[int], list[int]]:
    """Logits of `union` that are a role's own choices, and choice 0 of the components that it has not."""
    if isinstance(own, Box) or isinstance(union, Box):
        return [], []
    starts = (np.cumsum(union.nvec) - union.nvec).tolist()
    chosen = [start + choice for start, n in zip(starts, own.nvec, strict=False) for choice in range(n)]
    return chosen, starts[len(own.nvec) :]


def _with_zeros(space: Space) -> Space:
    """The space and zeros, which stand in rows of other roles."""
    if isinstance(space, Dict):
        return Dict({name: _with_zeros(part) for name, part in space.children()})
    if isinstance(space, Tuple):
        return Tuple(_with_zeros(part) for _, part in space.children())
    return _flat_with_zeros(space)


def _flat_with_zeros(space: Flat) -> Flat:
    if isinstance(space, Box):
        low, high = np.minimum(space.low, 0).reshape(space.shape), np.maximum(space.high, 0).reshape(space.shape)
        return Box(low, high, space.shape, space.dtype)
    if isinstance(space, Discrete):
        start = min(space.start, 0)
        return Discrete(max(space.start + space.n, 1) - start, start)
    return space
