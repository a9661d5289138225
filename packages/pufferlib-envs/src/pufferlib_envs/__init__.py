"""Native environments in C."""

from __future__ import annotations

from pathlib import Path

__all__ = ["source_dir"]


def source_dir() -> str:
    """Folder of the C sources, for builds that compile the environments themselves."""
    return str(Path(__file__).parent / "csrc")
