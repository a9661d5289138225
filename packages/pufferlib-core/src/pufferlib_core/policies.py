"""Policies, described without a framework: sizes, activation, heads and normaliser."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from pufferlib_core.config import from_dict, option, to_dict
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.errors import CheckpointError, PufferError, SpaceError
from pufferlib_core.spaces import Box, Flat, Mixed, Space, fingerprint, from_json
from pufferlib_core.traits import ActionSpace


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Settings of the network."""

    hidden: tuple[int, ...] = option((64, 64), "widths of the hidden layers", low=1, high=4096)
    activation: str = option("tanh", "of hidden layers", choices=("tanh", "relu"))
    separate: bool = option(False, "separate networks for action and value instead of one shared trunk")
    normalize_obs: bool = option(False, "subtract the running mean of observations and divide by their deviation")
    obs_clip: float = option(10.0, "normalised observations are kept in [-obs_clip, obs_clip]", low=0.001, high=1e6)
    log_std_init: float = option(0.0, "initial logarithm of the deviation of continuous actions", low=-10, high=5)


class Tensor(NamedTuple):
    """One tensor of the flat parameter vector."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Numbers in it."""
        return self.shape[0] * (self.shape[1] if len(self.shape) > 1 else 1)


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """A policy: its spaces and its network. Equal specs have equal parameters on every back end."""

    obs_space: Space
    action_space: ActionSpace
    config: PolicyConfig

    @functools.cached_property
    def tree(self) -> SpaceTree:
        """Layout of the observations."""
        return SpaceTree(self.obs_space)

    @property
    def logits(self) -> int:
        """Numbers of the action head: one for each option of each choice, then the mean of each real number."""
        return sum(self.nvec) + self.numbers

    @property
    def nvec(self) -> tuple[int, ...]:
        """Options of each choice of an action; empty: it has none."""
        return () if isinstance(self.action_space, Box) else self.action_space.nvec

    @property
    def numbers(self) -> int:
        """A, real numbers of an action."""
        space = self.action_space.numbers if isinstance(self.action_space, Mixed) else self.action_space
        return space.size if isinstance(space, Box) else 0

    @property
    def postprocessing(self) -> str:
        """What happens to an action between policy and environment: `clip` to the bounds of its Box, or `none`.

        Log-probabilities are those of the action before it.
        """
        return "clip" if self.numbers else "none"

    def tensors(self) -> list[Tensor]:
        """Names, shapes and offsets in the flat vector, in order (see puffer/net.h)."""
        parts = ["actor", "critic"] if self.config.separate else ["trunk"]
        shapes: list[tuple[str, tuple[int, ...]]] = []
        heads = {"actor": [("policy", self.logits)], "critic": [("value", 1)],
                 "trunk": [("policy", self.logits), ("value", 1)]}  # fmt: skip
        for part in parts:
            width = self.tree.width
            for layer, out in enumerate(self.config.hidden):
                shapes += [(f"{part}.{layer}.weight", (out, width)), (f"{part}.{layer}.bias", (out,))]
                width = out
            for head, out in heads[part]:
                shapes += [(f"{head}.weight", (out, width)), (f"{head}.bias", (out,))]
        if self.numbers:
            shapes.append(("log_std", (self.numbers,)))
        result, offset = [], 0
        for name, shape in shapes:
            result.append(Tensor(name, shape, offset))
            offset += result[-1].size
        return result

    @property
    def params(self) -> int:
        """Numbers in the flat parameter vector."""
        last = self.tensors()[-1]
        return last.offset + last.size

    def acting_names(self) -> set[str]:
        """Names of the arrays of a run's state that acting needs; the others are the trainer's."""
        moments = {f"obs_norm/{name}" for name in ("mean", "var", "count")} if self.config.normalize_obs else set()
        return moments | {t.name for t in self.tensors()}

    @property
    def space_fingerprint(self) -> str:
        """Equal exactly if both spaces are."""
        return fingerprint(self.obs_space, self.action_space)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "obs_space": self.obs_space.to_json(),
            "action_space": self.action_space.to_json(),
            "config": to_dict(self.config),
            "postprocessing": self.postprocessing,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PolicySpec:
        """The policy that `to_json` described.

        Raises:
            CheckpointError: if it describes none.
        """
        try:
            obs, action = (from_json(values[name]) for name in ("obs_space", "action_space"))
            if not isinstance(action, Flat | Mixed):
                raise SpaceError(f"actions are choices, a Box or Mixed, got {action}")
            spec = cls(obs_space=obs, action_space=action, config=from_dict(PolicyConfig, values["config"], "policy"))
            _ = spec.tree
            told = values.get("postprocessing", spec.postprocessing)  # older checkpoints do not say it, and mean the same
            if told != spec.postprocessing:
                raise SpaceError(f"postprocessing of its actions must be {spec.postprocessing!r}, got {told!r}")
        except (KeyError, TypeError, PufferError) as error:
            raise CheckpointError(f"not the description of a policy: {error}") from error
        return spec
