"""Parts of the documentation that the code itself states, put into its pages by `mkdocs build`."""

from __future__ import annotations

import argparse
from typing import Any

import pufferlib_core
from pufferlib_cli.main import parser
from pufferlib_core.algorithms import get_algorithm
from pufferlib_core.loops.settings import option_types


def settings() -> str:
    """A table of every setting of a run; those of environments are on their pages."""
    rows = [
        f"| `{name}` | `{default if not isinstance(default, tuple) else ','.join(map(str, default))}` | {about} |"
        for name, (_, default, about) in option_types(get_algorithm("ppo")).items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def command_line() -> str:
    """What every command prints with `--help`."""
    parts = [f"## {name}\n\n```text\n{sub.format_help().strip()}\n```" for name, sub in commands(parser()) if not commands(sub)]
    return "\n\n".join(parts)


def commands(top: argparse.ArgumentParser, prefix: str = "") -> list[tuple[str, argparse.ArgumentParser]]:
    """Names and parsers of all subcommands, those of subcommands included."""
    found = []
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                found += [(f"{prefix}{name}", sub), *commands(sub, f"{prefix}{name} ")]
    return found


def public_names() -> str:
    """A directive for each public name, by the module that brings it."""
    modules: dict[str, list[str]] = {}
    for name, module in pufferlib_core._WHERE.items():
        modules.setdefault(module, []).append(name)
    parts = [
        f"## pufferlib_core.{module}\n\n" + "\n\n".join(f"::: pufferlib_core.{module}.{name}" for name in names)
        for module, names in modules.items()
    ]
    own = "\n\n".join(f"::: pufferlib_core.{name}" for name in ("include_dir", "source_dir"))
    return "\n\n".join([*parts, f"## pufferlib_core\n\n{own}"])


MARKS = {"<!-- settings -->": settings, "<!-- command line -->": command_line, "<!-- public names -->": public_names}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Mkdocs calls it for every page."""
    for mark, text in MARKS.items():
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown
