"""Small policies of every kind, with random parameters, for the tests of exports."""

from __future__ import annotations

import numpy as np
from pufferlib_core import save_checkpoint
from pufferlib_core.backends.params import initial_params, views
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete

VECTOR = Box(-np.inf, np.inf, (5,))


def saved(tmp_path, spec, *, masked=False, without=(), **tensors):
    """A checkpoint of random parameters whose every tensor matters."""
    rng = np.random.default_rng(0)
    flat = initial_params(spec, 3) + rng.normal(size=spec.params).astype(np.float32) * 0.2
    given = {name: array.copy() for name, array in views(spec, flat).items()} | tensors
    files = {"policy": given, "envs": {"action_mask": np.ones(1, np.uint8)} if masked else {"step": np.zeros(1, np.int64)}}
    manifest = {"policy": spec.to_json(), "env": "walk:SPEC", "backend": "native", "algorithm": "ppo"}
    return save_checkpoint(tmp_path, 7, files=files, state={"settings": {}}, manifest=manifest)


def spec_of(obs=VECTOR, action=None, **policy):
    return PolicySpec(obs_space=obs, action_space=action or Discrete(3), config=PolicyConfig(**{"hidden": (12,), **policy}))


def folder_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


SPECS = {
    "continuous, clipped": spec_of(action=Box([-1.0, -np.inf], [1.0, 0.5])),
    "squashed": spec_of(action=Box(-2, 2, (2,)), squash=True, activation="relu"),
    "both, separate lstm": spec_of(
        action=Mixed(MultiDiscrete([2, 4]), Box(-1, 1, (1,))), core="lstm", core_size=6, separate=True
    ),
    "gru": spec_of(core="gru", core_size=9),
    "image": spec_of(obs=Box(0, 255, (6, 5, 2), "uint8"), conv=("4:3:1", "3:2:2"), activation="relu"),
}
