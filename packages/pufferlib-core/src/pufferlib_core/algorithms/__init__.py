"""Registry of algorithms: entry points of the group `pufferlib.algorithms`, each an `AlgorithmSpec`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from pufferlib_core.errors import UnknownName


@dataclass(frozen=True, kw_only=True)
class AlgorithmSpec:
    """An algorithm: its settings, what it needs of a back end, and how to make its learner there.

    `make(backend, policy_spec, config, num_envs=, seed=, pool=)` returns a learner with `collect`, `update`, `policy` and
    its tensors; `check(config, num_envs)` refuses settings that contradict each other.
    """

    name: str
    config: type[Any]
    capability: str
    make: Callable[..., Any]
    check: Callable[[Any, int], None]
    description: str = ""


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
