"""Registry of back ends. Each is an entry point of the group `pufferlib.backends` that loads a light `BackendSpec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from pufferlib_core.data import Segment
from pufferlib_core.errors import ConfigError, UnknownName
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import VecEnv

Array = npt.NDArray[Any]


class Learnt(NamedTuple):
    """What a call that collects and learns leaves to be kept, besides parameters and optimiser."""

    losses: dict[str, float]  # as `Engine.descend` returns them
    obs: tuple[Array, Array] | None  # mean and variance of the observations, (width,) each, where they are normalised
    returns: tuple[Array, Array] | None  # likewise of the discounted returns, where those are
    running: Array | None  # discounted returns to go on with, (N,)
    spread: tuple[float, float]  # variance of target - value, and of the target


class Collector(NamedTuple):
    """Collects beside an engine that learns: with parameters of its own, in another thread."""

    policy: Any  # like `Engine.policy`
    load: Callable[[Mapping[str, Array]], None]  # acts from now on as `Engine.load` says; while nobody collects or learns
    collect: Callable[[VecEnv, Segment, int], int]  # like `Engine.collect`


class Engine(Protocol):
    """What learns in one run: `make_engine(spec, config, *, options, num_envs, seed, pool)` of a back end's module.

    Its module also has `load_policy(spec, tensors, *, options, threads)`, which gives a policy that acts.
    """

    policy: Any  # acts with the current parameters: `act`, `forward`, `log_std` and `spec`
    seed: int  # of all streams of the run
    pool: Any  # threads of the core
    whole: bool  # collects and learns in one call where `expect` says what is to come; see `expect` and `learnt`
    inexact: str  # why the same arrays may lead elsewhere the next time; empty: they never do

    def tensors(self, seed: int) -> dict[str, Array]:
        """Arrays of the engine that a state holds: initial parameters, moments, gradient steps in `adam/step`.

        Moments of a tensor are `adam/m/...` and `adam/v/...`, or `muon/momentum/...` where Muon serves it (`params.served`).

        Names, shapes and initial values are the same on every back end (`PolicySpec.tensors`, `backends.params`), unless the
        network is not described by the spec (`PolicySpec.check_described`).
        """

    def push(self) -> None:
        """Called after somebody has written into those arrays: they are what learning goes on from."""

    def pull(self) -> None:
        """Called before somebody reads them: they are brought up to date."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Acts from now on with the current parameters and the observation statistics of `state`."""

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """Fills a segment with sampled actions, with noise keyed by (seed, row, first_step + t); returns finished episodes."""

    def expect(self, state: Mapping[str, Array], *, coefficients: Coefficients, update: int) -> None:
        """Of engines that are `whole`: the next `collect` learns from what it collects, with these, as `update` would."""

    def learnt(self) -> Learnt | None:
        """Of engines that are `whole`: what the last `collect` has learnt; None if it was not told to, or it was asked before.

        Raises:
            NonFiniteError: as `descend`.
        """

    def collector(self, pool: Any) -> Collector:
        """What may collect in one other thread while `descend` runs in this one; it shares no memory that either writes.

        Args:
            pool: threads of the core that are its own.
        """

    def descend(
        self, segment: Segment, advantage: Array, target: Array, *, coefficients: Coefficients, update: int,
        order: Array | None = None, importance: Array | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """Epochs of minibatches on a segment, in the order of `minibatch_order` unless another is given.

        Args:
            segment: rows and the log-probabilities and values of the policy that collected them.
            advantage: float32 (T, N), normalised here by minibatch if the settings say so.
            target: of the value, float32 (T, N).
            coefficients: of this update.
            update: number of the update, which keys the shuffle.
            order: what the minibatches take, one after the other: rows t * N + n, int32 (epochs, rows); of a policy with a
                memory environments, (epochs, N).
            importance: factor of each advantage once it is normalised, float32 (T, N); None: 1.

        Returns:
            Losses by name, means over the minibatches.

        Raises:
            NonFiniteError: if the loss or its gradient is not finite; the offending step was not taken.
        """


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """A back end before it is loaded: cheap to list whether or not its framework is installed."""

    name: str
    capabilities: frozenset[str]
    load: Callable[[], Any]  # imports the framework; raises MissingExtra
    extra: str | None = None  # of pufferlib-core, that brings the framework
    config: type[Any] | None = None  # its settings, a frozen dataclass of `option`s; the section has its name
    check: Callable[[Any, EnvSpec], None] | None = None  # refuses settings of its section that do not fit the environment
    description: str = ""


def backend_specs() -> dict[str, BackendSpec]:
    """Installed back ends by name.

    Raises:
        ConfigError: if two packages bring the same name.
    """
    found: dict[str, BackendSpec] = {}
    owners: dict[str, str] = {}
    for entry in entry_points(group="pufferlib.backends"):
        owner = entry.dist.name if entry.dist else "?"
        if entry.name in found and owners[entry.name] != owner:
            raise ConfigError(f"back end {entry.name!r} is brought by {owners[entry.name]} and {owner}: uninstall one")
        found[entry.name], owners[entry.name] = entry.load(), owner
    return found


def backend_spec(name: str) -> BackendSpec:
    """The installed back end of a name, not loaded.

    Raises:
        UnknownName: if none has this name.
    """
    specs = backend_specs()
    if name not in specs:
        raise UnknownName("back end", name, specs)
    return specs[name]


def get_backend(name: str, capability: str | None = None) -> Any:
    """The loaded back end, which must have the capability.

    Raises:
        UnknownName: if none has this name.
        ConfigError: if it lacks the capability, naming those that have it.
    """
    chosen = backend_spec(name)
    if capability is not None and capability not in chosen.capabilities:
        able = sorted(n for n, spec in backend_specs().items() if capability in spec.capabilities)
        how = f" (--backend {able[0]}, in Python backend={able[0]!r})" if able else ""
        raise ConfigError(f"back end {name!r} cannot {capability}; these can: {', '.join(able) or 'none installed'}{how}")
    return chosen.load()
