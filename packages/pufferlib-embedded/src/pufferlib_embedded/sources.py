"""The files of the core that a policy needs, found by what they include."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import files
from pathlib import Path

from pufferlib_core import include_dir, source_dir

TEMPLATES = Path(__file__).resolve().parent / "templates"
CORE_HEADER = r'#include "(puffer/\w+\.h)"'
HEADER = "/* From the C core of pufferlib, MIT licence: see LICENSE. */\n"


def core_files(roots: Iterable[str]) -> dict[str, str]:
    """Texts by their path below `src`: the roots, and every header that they include, however indirectly.

    Roots link with each other and nothing else; `targets.Build.objects` proves it at each export.
    """
    found = {name: _text(Path(source_dir()) / name) for name in roots}
    return dict(sorted((found | headers(found.values())).items()))


def headers(texts: Iterable[str]) -> dict[str, str]:
    """Headers of the core that these texts include, however indirectly."""
    found: dict[str, str] = {}
    for first in {header for text in texts for header in re.findall(CORE_HEADER, text)}:
        found |= included(Path(include_dir()), first, CORE_HEADER)
    return found


def included(folder: Path, first: str, pattern: str) -> dict[str, str]:
    """Texts by their path in a folder: a file, and all that it includes, however indirectly, by lines of the pattern."""
    found: dict[str, str] = {}
    wanted = [first]
    while wanted:
        path = wanted.pop()
        if path not in found:
            found[path] = _text(folder / path)
            wanted += re.findall(pattern, found[path])
    return found


def _text(path: Path) -> str:
    return HEADER + path.read_text()


def licence() -> str:
    """Of this package and the core: it travels with every copy."""
    return next(file for file in files("pufferlib-embedded") or () if file.name == "LICENSE").read_text()
