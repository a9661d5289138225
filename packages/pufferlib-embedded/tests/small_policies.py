"""Small policies of random parameters, which the tests of this package share."""

from __future__ import annotations

import numpy as np
from pufferlib_core import save_checkpoint
from pufferlib_core.backends.params import initial_params, views
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete

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
