"""The files of the core that a policy needs, found by what they include."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import files
from pathlib import Path

from pufferlib_core import include_dir, source_dir

HEADER = "/* From the C core of pufferlib, MIT licence: see LICENSE. */\n"


def core_files(roots: Iterable[str]) -> dict[str, str]:
    """Texts by their path below `src`: the roots, and every header that they include, however indirectly.

    Roots link with each other and nothing else; `targets.Build.objects` proves it at each export.
    """
    found: dict[str, str] = {}
    wanted = [(name, Path(source_dir()) / name) for name in roots]
    while wanted:
        name, path = wanted.pop()
        if name not in found:
            found[name] = HEADER + path.read_text()
            included = re.findall(r'#include "(puffer/\w+\.h)"', found[name])
            wanted += [(header, Path(include_dir()) / header) for header in included]
    return dict(sorted(found.items()))


def licence() -> str:
    """Of this package and the core: it travels with every copy."""
    return next(file for file in files("pufferlib-embedded") or () if file.name == "LICENSE").read_text()
