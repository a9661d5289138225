"""Registry of algorithms: entry points of the group `pufferlib.algorithms`, each an `AlgorithmSpec`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import numpy.typing as npt

from pufferlib_core.errors import UnknownName

State = dict[str, npt.NDArray[Any]]  # everything that a run learns and counts, by name


@dataclass(frozen=True, kw_only=True)
class AlgorithmSpec:
    """An algorithm as a record: its settings, what it needs of a back end, and functions over one `State`.

    The back end's engine (`make_engine`) owns the memory of parameters and optimiser, acts, and offers the fused kernels
    that `capability` names.

        check(config, policy_config, num_envs)                        refuses settings that contradict each other
        init(engine, policy_spec, config, *, num_envs, seed) -> state
        targets(state, segment, config) -> named arrays               what the losses aim at
        update(engine, state, segment, config, *, fraction) -> state, metrics
        prepare(engine, state, config, *, fraction)                   called before the segment of that update is collected
    """

    name: str
    config: type[Any]
    capability: str
    check: Callable[[Any, Any, int], None]
    init: Callable[..., State]
    targets: Callable[..., dict[str, npt.NDArray[Any]]]
    update: Callable[..., tuple[State, dict[str, float]]]
    prepare: Callable[..., None] | None = None
    description: str = ""
    # Why it cannot learn from what an older policy collected, given its settings; empty: it can (`Segment.version`).
    synchronous: Callable[[Any], str] = lambda _config: "this algorithm learns only from what its current policy collected"


def algorithm_specs() -> dict[str, AlgorithmSpec]:
    """Installed algorithms by name."""
    return {entry.name: entry.load() for entry in entry_points(group="pufferlib.algorithms")}


def get_algorithm(name: str) -> AlgorithmSpec:
    """The algorithm of this name.

    Raises:
        UnknownName: if there is none.
    """
    specs = algorithm_specs()
    if name not in specs:
        raise UnknownName("algorithm", name, specs)
    return specs[name]
