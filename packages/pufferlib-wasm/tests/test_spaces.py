"""Spaces that follow from settings are those of Python, to the byte: a checkpoint carries a hash of them."""

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
from pufferlib_core.errors import PufferError
from pufferlib_core.vector import env_names, env_spec

NAMES = [name for name in env_names() if env_spec(name).table.__module__ == "pufferlib_envs._spec"]
EACH = 12


def drawn(name, rng):
    """Some settings of an environment, far from the defaults."""
    chosen = {}
    for field in dataclasses.fields(env_spec(name).config):
        low, high = field.metadata["low"], field.metadata["high"]
        value = getattr(env_spec(name).config, field.name)
        if rng.random() < 0.3:
            continue
        if isinstance(value, bool):
            chosen[field.name] = bool(rng.integers(2))
        elif isinstance(value, int):
            chosen[field.name] = int(rng.integers(low or 0, min(high or 50, 50) + 1))
        else:
            number = (
                float(rng.uniform(low, high)) if rng.random() < 0.5 else float(low + (high - low) / 2 ** rng.integers(1, 12))
            )
            chosen[field.name] = round(number) if low <= round(number) <= high and rng.random() < 0.3 else number
    return chosen


def test_spaces_are_those_of_python(built):
    rng = np.random.default_rng(0)
    asked = [(name, drawn(name, rng)) for name in NAMES for _ in range(EACH)]
    command = ["node", str(Path(__file__).with_name("spaces.mjs")), str(built / "puffer.wasm")]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    refused = 0
    for (name, config), text in zip(asked, told, strict=True):
        try:
            spaces = env_spec(name, config).spaces
        except PufferError:  # two settings that contradict each other
            assert text.startswith("refused"), (name, config)
            refused += 1
        else:
            assert text == json.dumps([space.to_json() for space in spaces], sort_keys=True, separators=(",", ":")), (
                name,
                config,
            )
    assert refused < len(asked) / 5
