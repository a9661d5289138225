r"""Runs every environment of Gymnasium and PettingZoo that can be made here for 1000 steps: docs/reference/compatibility.md.

uv run --with 'gymnasium[classic-control,box2d,toy-text,mujoco]' --with 'pettingzoo[classic,butterfly]' --with mpe2 \
    --with jax --with scipy tools/try_environments.py
"""

from __future__ import annotations

import pkgutil
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import mpe2
import numpy as np
import pettingzoo
from pufferlib_core.spaces import sample_allowed
from pufferlib_core.vector import env_spec, vectorize

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/compatibility.md"
STEPS = 1000
HEAD = """# Compatibility

Every environment of Gymnasium and PettingZoo (and of mpe2, which was a part of it) that could be made on one machine,
{steps} random allowed steps each, packed into rows, features made of them. Written by `tools/try_environments.py` with
gymnasium {gymnasium} and pettingzoo {pettingzoo}.
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
    """Title and name of every module of environments: parallel where it is offered, in turns elsewhere."""
    for family in ("butterfly", "classic", "sisl"):  # atari needs its games
        for module in modules(pettingzoo, family):
            yield f"{family}/{module}", f"pettingzoo:{family}.{module}"
    for module in modules(mpe2):  # both ways: they have agents that differ in their spaces
        for kind in ("parallel_env", "env"):
            yield f"mpe2.{module}:{kind}", f"mpe2.{module}:{kind}"


def modules(package: types.ModuleType, family: str = "") -> list[str]:
    """The modules of environments in a folder of a package."""
    folder = Path(str(package.__file__)).parent / family
    return sorted(info.name for info in pkgutil.iter_modules([str(folder)]) if "_v" in info.name)


def attempt(name: str) -> tuple[bool, str]:
    """Whether an environment ran, and its rows and features, or the reason."""
    try:
        spec = env_spec(name)
        vec = vectorize(spec, num_envs=1)
        step = vec.reset()
        rng = np.random.default_rng(0)
        for _ in range(STEPS):
            masks = [None] * vec.rows if step.action_mask is None else step.action_mask
            action = np.stack([sample_allowed(spec.action_space, rng, mask) for mask in masks]).astype(vec.action_dtype)
            step = vec.step(action)
        features = vec.tree.features(vec.latest.obs)
        vec.close()
    except Exception as error:  # whatever an environment does goes into the table
        return False, f"{type(error).__name__}: {' '.join(str(error).split())[:140]}"
    in_turns = ", in turns" if spec.turns else ""
    return True, f"{vec.rows} rows of {vec.tree.row_bytes} bytes, {features.shape[1]} features{in_turns}"


def table(title: str, names: list[tuple[str, str]]) -> str:
    """A section of the page."""
    rows = []
    ran = 0
    for shown, name in names:
        passed, about = attempt(name)
        ran += passed
        print(f"{'ok  ' if passed else 'FAIL'}  {shown}: {about}", flush=True)
        rows.append(f"| `{shown}` | {'yes' if passed else 'no'} | {about.replace('|', '/').replace('<', '&lt;')} |")
    return f"\n## {title}\n\n{ran} of {len(names)} ran.\n\n| environment | ran | |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    text = HEAD.format(steps=STEPS, gymnasium=gymnasium.__version__, pettingzoo=pettingzoo.__version__)
    PAGE.write_text(text + table("Gymnasium", list(gymnasium_names())) + table("PettingZoo", list(pettingzoo_names())))


if __name__ == "__main__":
    main()
