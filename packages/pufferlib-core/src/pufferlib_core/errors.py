"""Errors that a user can cause. Each message names the place, the rule, what came and the next step."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class PufferError(Exception):
    """Base of every error raised on purpose by these packages."""


class ConfigError(PufferError):
    """A setting is unknown, of the wrong type or out of range."""


class ShapeError(PufferError):
    """An array has the wrong shape, dtype or memory layout."""


class SpaceError(PufferError):
    """A value does not belong to a space, or a space is not legal."""


class UnknownName(PufferError):
    """A name that no registry knows."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        known = sorted(choices)
        hint, everything = suggest(name, known), ", ".join(known) or "none"
        super().__init__(f"unknown {kind} {name!r}{hint} (known: {everything})")


class MissingExtra(PufferError):
    """An optional dependency is not installed."""


class CheckpointError(PufferError):
    """A checkpoint is damaged, foreign, or belongs to something else."""


class RunError(PufferError):
    """A run folder cannot be created or written."""


class EnvError(PufferError):
    """An environment broke its contract, or a call does not fit its state."""


class NonFiniteError(PufferError):
    """NaN or infinity appeared in observations, rewards, the loss or its gradient."""


class NativeError(PufferError):
    """The C core refused a call."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean X?` for the closest choice, or an empty string."""
    close = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def require(module: str, extra: str, package: str = "pufferlib-core") -> ModuleType:
    """Imports an optional module, or says which extra of which package brings it.

    Raises:
        MissingExtra: if `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # `module` is installed but one of its own imports is not
        raise MissingExtra(f"{module} is not installed: pip install '{package}[{extra}]>=0.1,<0.2'") from error
