"""Policies, described without a framework: sizes, activation, heads and normaliser."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pufferlib_core.config import from_dict, option, to_dict
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.encoders import Encoder, encoders
from pufferlib_core.errors import CheckpointError, ConfigError, PufferError, SpaceError
from pufferlib_core.native import Array, check, lib, pointer
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.spaces import Box, Flat, Mixed, Space, fingerprint, from_json
from pufferlib_core.traits import ActionSpace
from pufferlib_core.vector.base import action_dtype, finite_bounds


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Settings of the network."""

    conv: tuple[str, ...] = option(
        (),
        'convolutions for images: "nature", "impala_small" or channels:kernel:stride of each; none: images are read as vectors',
    )
    encoder: tuple[int, ...] = option(
        (), "widths of layers that each vector of a nested observation has to itself", low=1, high=4096
    )
    hidden: tuple[int, ...] = option((64, 64), "widths of the hidden layers", low=1, high=4096)
    activation: str = option("tanh", "of hidden layers", choices=("tanh", "relu"))
    core: str = option("none", "memory after the hidden layers", choices=("none", "lstm", "gru"))
    core_size: int = option(128, "numbers that the memory hands on (of an LSTM: twice as many)", low=1, high=4096)
    separate: bool = option(False, "separate networks for action and value instead of one shared trunk")
    normalize_obs: bool = option(False, "subtract the running mean of observations and divide by their deviation")
    obs_clip: float = option(10.0, "normalised observations are kept in [-obs_clip, obs_clip]", low=0.001, high=1e6)
    squash: bool = option(False, "continuous actions pass tanh into the bounds of their Box, instead of being clipped to them")
    log_std_init: float = option(0.0, "initial logarithm of the deviation of continuous actions", low=-10, high=5)
    module: str = option(
        "", "package.module:factory of a module of torch or flax nnx that is the network, instead of these layers"
    )


FREE = frozenset({"obs_clip", "log_std_init", "module"})  # may change when a run goes on; the other settings are its network
OWN = "module."  # begins the names of tensors that a network of one's own has in place of `PolicySpec.tensors`


class Tensor(NamedTuple):
    """One tensor of the flat parameter vector."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def hidden(self) -> bool:
        """Whether it is a matrix of a trunk, actor or critic: what Muon serves; heads, biases and log_std stay with Adam."""
        return len(self.shape) > 1 and not self.name.startswith(("policy.", "value."))


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """A policy: its spaces and its network. Equal specs have equal parameters on every back end."""

    obs_space: Space
    action_space: ActionSpace
    config: PolicyConfig

    def __post_init__(self) -> None:
        if not self.config.hidden and not self.config.module:
            raise ConfigError("policy.hidden must have at least one layer, such as 64")
        _ = self.squash_bounds

    @functools.cached_property
    def tree(self) -> SpaceTree:
        """Layout of the observations."""
        return SpaceTree(self.obs_space)

    @functools.cached_property
    def logits(self) -> int:
        """Numbers of the action head: one for each option of each choice, then the mean of each real number."""
        return sum(self.nvec) + self.numbers

    @functools.cached_property
    def nvec(self) -> tuple[int, ...]:
        """Options of each choice of an action; empty: it has none."""
        return () if isinstance(self.action_space, Box) else self.action_space.nvec

    @functools.cached_property
    def numbers(self) -> int:
        """A, real numbers of an action."""
        space = self.action_space.numbers if isinstance(self.action_space, Mixed) else self.action_space
        return space.size if isinstance(space, Box) else 0

    @property
    def postprocessing(self) -> str:
        """What is done to an action on its way to the environment: `clip` to the bounds of its Box, `squash` or `none`.

        Log-probabilities are those of the action before it.
        """
        if self.config.squash:
            return "squash"
        return "clip" if self.numbers else "none"

    @functools.cached_property
    def squash_bounds(self) -> tuple[Array, Array] | None:
        """Low and high of the numbers that `policy.squash` keeps between them, float32 (A,); None: it is off.

        Raises:
            ConfigError: if an action has no numbers, or one that is not bounded on both sides.
        """
        if not self.config.squash:
            return None
        if not self.numbers:
            raise ConfigError(f"policy.squash: actions are {self.action_space} and have no real numbers: leave it out")
        bounds = finite_bounds(self.action_space)
        if bounds is not None:
            low, high = (bound.ravel() for bound in bounds)
            if np.isfinite([low, high]).all() and (low < high).all():
                return low, high
        raise ConfigError(
            f"policy.squash needs a finite low below a finite high for every number of an action, and these are "
            f"{self.action_space}: leave it out, and actions are clipped where they have bounds"
        )

    def postprocess(self, action: Array) -> Array:
        """What environments get of sampled actions (N, ...): with `policy.squash` their numbers squashed, else the same.

        The core does it (puf_squash), so that it has the same bits everywhere. Environments clip by themselves.
        """
        if self.squash_bounds is None:
            return action
        low, high = (pointer(bound, "bounds", np.float32) for bound in self.squash_bounds)
        given, space = action.copy(), self.action_space
        words = pointer(given, "action", action_dtype(space), (len(given), *space.shape), out=True)
        check(lib.puf_squash(low, high, len(self.nvec), self.numbers, len(given), words), "postprocess")
        return given

    @functools.cached_property
    def encoders(self) -> list[Encoder]:
        """What reads the leaves of an observation, in their order; empty: all its numbers go to the hidden layers at once.

        Raises:
            ConfigError: if `policy.conv` is none, or it or `policy.encoder` has nothing to read.
            SpaceError: if a convolution is larger than what it reads.
        """
        return encoders(self.tree, self.config.conv, self.config.encoder)

    @property
    def encoded(self) -> int:
        """Numbers that the first hidden layer reads."""
        return sum(encoder.width for encoder in self.encoders) if self.encoders else self.tree.width

    @property
    def gates(self) -> int:
        """Blocks of `core_size` rows in the weights of the core."""
        return {"none": 0, "lstm": 4, "gru": 3}[self.config.core]

    @functools.cached_property
    def carry(self) -> int:
        """Numbers that a row of the policy hands on from step to step; 0: it has no memory."""
        numbers = {"none": 0, "lstm": 2, "gru": 1}[self.config.core] * self.config.core_size
        return numbers * (2 if self.config.separate else 1)

    def preprocessing(self, moments: Moments | None) -> tuple[Array, Array, float] | None:
        """Mean and scale (width,) float32 and the bound: a network reads clip((x - mean) * scale, -bound, bound).

        Images are scaled alone, whatever `moments` say of them. None: it reads x.
        """
        width = self.tree.width
        mean, scale, bound = np.zeros(width, np.float32), np.ones(width, np.float32), math.inf
        if moments is not None:
            mean[:], scale[:], bound = moments.mean, moments.scale(), self.config.obs_clip
        for encoder in self.encoders:
            if encoder.image is not None:
                part = slice(encoder.first, encoder.first + encoder.size)
                mean[part], scale[part] = 0.0, encoder.scale
        plain = moments is None and (scale == 1).all()
        return None if plain else (mean, scale, bound)

    def _tower(self, part: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Tensors of a trunk, an actor or a critic."""
        for e, encoder in enumerate(self.encoders):
            for k, shape in enumerate(encoder.layers):
                yield f"{part}.encoder.{e}.{k}.weight", shape
                yield f"{part}.encoder.{e}.{k}.bias", shape[:1]
        for k, (read, out) in enumerate(itertools.pairwise((self.encoded, *self.config.hidden))):
            yield f"{part}.{k}.weight", (out, read)
            yield f"{part}.{k}.bias", (out,)
        if self.gates:
            size = self.config.core_size
            yield f"{part}.core.input", (self.gates * size, self.config.hidden[-1])
            yield f"{part}.core.state", (self.gates * size, size)
            yield f"{part}.core.bias", (self.gates * size,)

    def check_same_network(self, before: PolicyConfig, where: object) -> None:
        """Refuses settings that would read the parameters of a run as another network than the one that learnt them.

        Args:
            before: the settings of that run.
            where: its checkpoint.

        Raises:
            CheckpointError: naming the first one that differs.
        """
        theirs, ours = to_dict(before), to_dict(self.config)
        for name, value in theirs.items():
            if name not in FREE and ours[name] != value:
                raise CheckpointError(
                    f"{where} was trained with policy.{name}={value}, the settings say {ours[name]}: it cannot change on resume"
                )

    def check_described(self) -> None:
        """Refuses a network that is not described here.

        Raises:
            ConfigError: if it is a module, which only the back end that it is written for can run.
        """
        if self.config.module:
            raise ConfigError(
                f"policy.module={self.config.module}: this network is a module, which only the back end that it is written for "
                "can run: choose torch or jax"
            )

    def tensors(self) -> list[Tensor]:
        """Names, shapes and offsets in the flat vector, in order (see puffer/net.h).

        Raises:
            ConfigError: if the network is not described here.
        """
        self.check_described()
        read = self.config.core_size if self.gates else self.config.hidden[-1]
        policy, value = (
            [(f"{head}.weight", (out, read)), (f"{head}.bias", (out,))] for head, out in (("policy", self.logits), ("value", 1))
        )
        first = "actor" if self.config.separate else "trunk"
        shapes: list[tuple[str, tuple[int, ...]]] = [*self._tower(first), *policy]
        shapes += [*self._tower("critic"), *value] if self.config.separate else value
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

    def acting_names(self, state: Collection[str]) -> set[str]:
        """Names of the arrays of a run's state that acting needs: parameters and observation statistics."""
        moments = {f"obs_norm/{name}" for name in ("mean", "var", "count")} if self.config.normalize_obs else set()
        return moments | {name for name in state if f"adam/m/{name}" in state or f"muon/momentum/{name}" in state}

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
