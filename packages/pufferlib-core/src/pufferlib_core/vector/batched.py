"""Environments that come as a batch with the interface of Gymnasium's `VectorEnv`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from pufferlib_core.emulation import ActionTree
from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array
from pufferlib_core.spaces import from_gymnasium
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.each import Reader, close, made_by, reader_of
from pufferlib_core.vector.states import Kept

# Gymnasium's modes, and the only one of ours that goes with each; empty: all do.
MODES = {"NextStep": "next_step", "SameStep": "same_step", "Disabled": ""}


def is_vector(value: Any) -> bool:
    """Whether an object has what Gymnasium's vector environments have; the package itself is not needed."""
    names = ("reset", "step", "num_envs", "single_observation_space", "single_action_space")
    return all(hasattr(value, name) for name in names)


def takes_num_envs(made: Callable[..., Any]) -> bool:
    """Whether a factory makes batches: it has a parameter `num_envs`."""
    try:
        return "num_envs" in inspect.signature(made).parameters
    except (TypeError, ValueError):
        return False  # a callable without a signature


def from_vector(name: str, factory: Callable[..., Any], first: Any) -> EnvSpec:
    """The environment whose batches a factory makes.

    Args:
        name: what to call it.
        factory: `factory(num_envs=N)` makes a batch of N.
        first: one that was made to look at its spaces; it is closed.

    Raises:
        EnvError: if its spaces are not supported, or it does not say how it resets itself.
    """
    mode = _mode(name, first)

    def read() -> Reader:
        return reader_of(first.single_observation_space, first.single_action_space)

    return made_by(name, first, read, batch=functools.partial(VectorBatch, name, factory), autoreset=MODES[mode])


def _mode(name: str, env: Any) -> str:
    came = env.metadata.get("autoreset_mode")
    mode = getattr(came, "value", came)
    if mode not in MODES:
        raise EnvError(f"{name}: metadata['autoreset_mode'] must be one of {', '.join(MODES)}, got {came!r}")
    return str(mode)


class VectorBatch:
    """A `BatchEnv` of one of Gymnasium's vector environments.

    One that resets itself does so when the rows around it expect it: its first observations are handed out by `reset`. In
    mode Disabled it resets what it is told to by `options["reset_mask"]`.

    Args:
        name: for errors.
        factory: `factory(num_envs=N)` makes a batch of N.
        count: N.
        seed: of all its randomness.

    Raises:
        EnvError: if the batch has another number of environments.
    """

    def __init__(self, name: str, factory: Callable[..., Any], count: int, seed: np.random.SeedSequence) -> None:
        self._name, self._env = name, factory(num_envs=count)
        if self._env.num_envs != count:
            raise EnvError(f"{name}: asked for num_envs={count}, the factory made {self._env.num_envs}")
        self._mode = _mode(name, self._env)
        self._seed: int | None = int(seed.generate_state(1)[0]) >> 1
        self._ended = np.zeros(count, bool)  # by its own word, and not reset yet
        self._begun = np.zeros(count, bool)  # began anew by itself; nobody has asked for that observation yet
        self._latest: Any = None  # observations
        self._actions = ActionTree(from_gymnasium(self._env.single_action_space))
        self._reader = reader_of(self._env.single_observation_space, self._env.single_action_space)
        self._kept = Kept(self._env)
        self.missing = self._kept.missing

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes; the first call starts all of them, with the seed.

        Raises:
            EnvError: if some must be reset that only reset themselves.
        """
        chosen = np.zeros(len(self._ended), bool)
        chosen[rows] = True
        if self._seed is not None:
            self._latest, _ = self._env.reset(seed=self._seed)
            self._seed = None
        elif (chosen & ~self._begun).any():
            self._begin(chosen)
        self._ended[rows] = self._begun[rows] = False
        self._reader.write_batch(out, rows, self._latest)

    def _begin(self, chosen: Array) -> None:
        if chosen.all():
            self._latest, _ = self._env.reset()
        elif self._mode == "Disabled":
            self._latest, _ = self._env.reset(options={"reset_mask": chosen})
        else:
            raise EnvError(f"{self._name}: it resets itself ({self._mode}), some of its environments alone cannot be reset")

    def step(self, action: Array, out: Step) -> None:
        """One step of all; final observations where episodes ended."""
        if self._mode == "Disabled" and self._ended.any():  # they wait, which it does not know: any episode will do
            self._env.reset(options={"reset_mask": self._ended.copy()})
        before = self._ended
        self._latest, reward, terminated, truncated, info = self._env.step(self._actions.decode_batch(action))
        out.reward[:], out.terminated[:], out.truncated[:] = reward, terminated, truncated
        out.cost[:] = info.get("cost", 0.0)
        self._ended = np.logical_or(terminated, truncated)
        self._reader.write_batch(out, slice(None), self._latest)
        if self._mode == "NextStep":
            self._begun, self._ended = before, self._ended & ~before
        elif self._mode == "SameStep":
            self._begun = self._ended
            self._final(np.flatnonzero(self._ended), info, out)

    def _final(self, ended: Array, info: dict[str, Any], out: Step) -> None:
        """What belongs to the episodes that ended; the rest of the step is of the next ones."""
        if len(ended) == 0:
            return
        if "final_obs" not in info:
            raise EnvError(f"{self._name}: episodes ended, but info has no final_obs, as it must in mode SameStep")
        self._reader.write(out, ended.tolist(), [info["final_obs"][i] for i in ended])
        costs = np.broadcast_to(info.get("final_info", {}).get("cost", 0.0), out.cost.shape)
        out.cost[ended] = costs[ended]

    def get_state(self) -> Any:
        """The state of the batch, between two steps."""
        return {"own": self._kept.get(), "ended": self._ended}

    def set_state(self, state: Any) -> None:
        """Restores what `get_state` returned."""
        self._kept.set(state["own"])
        self._ended = state["ended"]

    def close(self) -> None:
        """Closes the batch."""
        close(self._env)
