r"""Runs every environment of Gymnasium and PettingZoo that can be made here for 1000 steps: docs/reference/compatibility.md.

uv run --with 'gymnasium[classic-control,box2d,toy-text,mujoco]' --with 'pettingzoo[classic,butterfly]' --with jax \
    --with scipy tools/try_environments.py
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pettingzoo
from pufferlib_core.vector import env_spec, vectorize

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/compatibility.md"
STEPS = 1000
HEAD = """# Compatibility

Every environment of Gymnasium and PettingZoo that could be made on one machine, {steps} random steps each, packed into
rows, features made of them. Written by `tools/try_environments.py` with gymnasium {gymnasium} and pettingzoo {pettingzoo}.
"""


def gymnasium_names() -> Iterator[tuple[str, str]]:
    """Title and name of the newest version of every registered environment."""
    newest: dict[tuple[str | None, str], Any] = {}
    for spec in gymnasium.registry.values():
        key = (spec.namespace, spec.name)
        if key not in newest or (spec.version or 0) > (newest[key].version or 0):
            newest[key] = spec
    for spec in newest.values():
        yield spec.id, f"gymnasium:{spec.id}"


def pettingzoo_names() -> Iterator[tuple[str, str]]:
    """Title and name of every module of environments; parallel where it is offered."""
    for family in ("butterfly", "classic", "sisl"):  # atari needs its games
        folder = Path(pettingzoo.__file__).parent / family
        for module in sorted(info.name for info in pkgutil.iter_modules([str(folder)]) if "_v" in info.name):
            yield f"{family}/{module}", f"pettingzoo.{family}.{module}"


def make_module(name: str) -> str:
    """A name that `env_spec` takes, for a module of PettingZoo."""
    source = importlib.import_module(name)
    module = types.ModuleType(name.replace(".", "_"))
    module.make = getattr(source, "parallel_env", None) or source.env
    sys.modules[module.__name__] = module
    return f"{module.__name__}:make"


def attempt(name: Callable[[], str]) -> tuple[bool, str]:
    """Whether an environment ran, and its rows and features, or the reason."""
    try:
        spec = env_spec(name())
        vec = vectorize(spec, num_envs=1)
        vec.reset()
        rng = np.random.default_rng(0)
        for _ in range(STEPS):
            action = np.stack([spec.action_space.sample(rng) for _ in range(vec.rows)]).astype(vec.action_dtype)
            vec.step(action)
        features = vec.tree.features(vec.latest.obs)
        vec.close()
    except Exception as error:  # whatever an environment does goes into the table
        return False, f"{type(error).__name__}: {' '.join(str(error).split())[:140]}"
    return True, f"{vec.rows} rows of {vec.tree.row_bytes} bytes, {features.shape[1]} features"


def table(title: str, names: list[tuple[str, Callable[[], str]]]) -> str:
    """A section of the page."""
    rows = []
    ran = 0
    for name, make in names:
        passed, about = attempt(make)
        ran += passed
        print(f"{'ok  ' if passed else 'FAIL'}  {name}: {about}", flush=True)
        rows.append(f"| `{name}` | {'yes' if passed else 'no'} | {about.replace('|', '/').replace('<', '&lt;')} |")
    return f"\n## {title}\n\n{ran} of {len(names)} ran.\n\n| environment | ran | |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    theirs = [(title, lambda name=name: name) for title, name in gymnasium_names()]
    others = [(title, lambda name=name: make_module(name)) for title, name in pettingzoo_names()]
    text = HEAD.format(steps=STEPS, gymnasium=gymnasium.__version__, pettingzoo=pettingzoo.__version__)
    PAGE.write_text(text + table("Gymnasium", theirs) + table("PettingZoo", others))


if __name__ == "__main__":
    main()
