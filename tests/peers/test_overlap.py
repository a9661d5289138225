"""Collection beside learning on torch and JAX."""

from __future__ import annotations

import numpy as np
import pufferlib_core as puffer
import pytest

SMALL = {"train.num_envs": 32, "ppo.horizon": 16, "ppo.minibatch": 128, "ppo.advantage": "vtrace", "policy.normalize_obs": True}


def learnt(out, backend: str, lag: int | None) -> dict[str, np.ndarray]:
    run = puffer.train("cartpole", backend=backend, timesteps=3 * 512, options=SMALL | {"train.lag": lag}, out=str(out))
    files = puffer.load_checkpoint(run.checkpoint).files
    return files["policy"] | files["trainer"]


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_lag_0_is_the_synchronous_run_and_lag_1_takes_the_native_course(tmp_path, backend):
    one, other = (learnt(tmp_path, backend, lag) for lag in (None, 0))
    assert all(np.array_equal(array, other[name]) for name, array in one.items())
    ours, native = (learnt(tmp_path, name, 1) for name in (backend, "native"))
    assert not np.array_equal(ours["policy.weight"], one["policy.weight"])
    for name, array in ours.items():
        np.testing.assert_allclose(array, native[name], rtol=2e-3, atol=2e-4, err_msg=name)
