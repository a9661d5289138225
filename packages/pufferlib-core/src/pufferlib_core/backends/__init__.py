"""Registry of back ends. Each is an entry point of the group `pufferlib.backends` that loads a light `BackendSpec`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from pufferlib_core.errors import ConfigError, UnknownName


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """A back end before it is loaded: cheap to list whether or not its framework is installed."""

    name: str
    capabilities: frozenset[str]
    load: Callable[[], Any]  # imports the framework; raises MissingExtra
    extra: str | None = None  # of pufferlib-core, that brings the framework
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


def get_backend(name: str, capability: str | None = None) -> Any:
    """The loaded back end, which must have the capability.

    Raises:
        UnknownName: if none has this name.
        ConfigError: if it lacks the capability, naming those that have it.
    """
    specs = backend_specs()
    if name not in specs:
        raise UnknownName("back end", name, specs)
    if capability is not None and capability not in specs[name].capabilities:
        able = sorted(n for n, spec in specs.items() if capability in spec.capabilities)
        raise ConfigError(f"back end {name!r} cannot {capability}; these can: {', '.join(able) or 'none installed'}")
    return specs[name].load()
