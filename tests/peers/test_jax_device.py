"""Environments that live on the device with JAX, against the same on the host. Run by the gate `peers`."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core import load_checkpoint, train
from pufferlib_core.algorithms.ppo import PPOConfig, init
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.errors import ConfigError, NonFiniteError
from pufferlib_core.loops.evaluate import evaluate
from pufferlib_core.loops.onpolicy import Run
from pufferlib_core.loops.settings import resolve
from pufferlib_core.native import Pool
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.vector import env_spec, vectorize

N, T = 16, 64
CASES = {
    "cartpole": ({"max_steps": 20}, {}),
    "pendulum": ({"max_steps": 50}, {"core": "gru", "core_size": 4, "squash": True}),
    "catch": ({}, {"normalize_obs": True}),
    "squared": ({"distance": 2}, {}),
}
PLANES = ("features", "action", "logprob", "value", "next_value", "reward", "terminated", "truncated", "valid", "cost")


def run_of(device_envs, env="cartpole", backend="jax", **options):
    """A run that has not begun."""
    ppo = {"horizon": 16, "minibatch": 64, "epochs": 2, "learning_rate": 1e-3, "normalize_return": True}
    given = {"env": env, "backend": backend, "seed": 4, "train": {"num_envs": N, "timesteps": 100_000}}
    given |= {
        "jax": {"device_envs": device_envs},
        "policy": {"hidden": [8], "normalize_obs": True},
        "ppo": ppo | options.pop("ppo", {}),
    }
    return Run(*resolve(given, options), None)


@pytest.mark.parametrize("name", CASES)
def test_a_segment_is_that_of_the_host(name):
    """Two segments across resets: a step from the states of the host, noise, values of final observations, memory."""
    config, policy = CASES[name]
    env = env_spec(name, config)
    spec = PolicySpec(
        obs_space=env.obs_space, action_space=env.action_space, config=from_dict(PolicyConfig, {"hidden": [8]} | policy)
    )
    vecs, segments, engines = [], [], []
    for device_envs in (False, True):
        options = from_dict(backend_specs()["jax"].config, {"device_envs": device_envs})
        ppo = PPOConfig(horizon=T, minibatch=T * N)
        engine = get_backend("jax").make_engine(spec, ppo, options=options, num_envs=N, seed=5, pool=Pool(1))
        state = init(engine, spec, ppo, num_envs=N, seed=5)
        state["value.bias"][...] = 3.0  # values far from 0: that of a wrong observation shows
        engine.push()
        engine.load(state)
        vec = vectorize(env, num_envs=N, seed=5)
        segment = vec.allocate(T, spec.carry)
        segment.obs[0] = vec.reset().obs
        engines.append(engine)
        vecs.append(vec)
        segments.append(segment)
    cut = 0
    for first in (0, T):
        finished = [engine.collect(vec, segment, first) for engine, vec, segment in zip(engines, vecs, segments, strict=True)]
        host, device = segments
        assert finished[0] == finished[1] > 0
        for plane in PLANES:
            theirs, ours = getattr(host, plane), getattr(device, plane)
            np.testing.assert_allclose(ours, theirs, atol=2e-3, rtol=1e-3, err_msg=plane)
        ended = (host.terminated | host.truncated) != 0
        assert np.array_equal(device.log["episode_length"][ended], host.log["episode_length"][ended])
        np.testing.assert_allclose(device.log["episode_return"][ended], host.log["episode_return"][ended], rtol=1e-4)
        np.testing.assert_allclose(device.final_obs, host.final_obs, atol=2e-3)
        if spec.carry:
            np.testing.assert_allclose(device.carry[1], host.carry[1], atol=2e-3)
        cut += int(((host.truncated != 0) & (host.terminated == 0)).sum())
        for segment in segments:
            segment.roll()
    assert (cut > 0) == (name != "catch")  # which has no limit of steps
    engines[1].pull()
    theirs, ours = (vec.state()["records"] for vec in vecs)
    assert np.array_equal(ours[:, -28:-12], theirs[:, -28:-12])  # random streams
    assert np.array_equal(ours[:, -8:], theirs[:, -8:])  # lengths of episodes


def test_updates_in_one_call_are_those_of_the_host():
    host, device = (run_of(flag) for flag in (False, True))
    assert (host.engine.whole, device.engine.whole) == (False, True)
    for update in range(3):
        theirs, ours = host.advance(), device.advance()
        for name, value in theirs.items():
            if not name.startswith("time/"):
                np.testing.assert_allclose(ours[name], value, rtol=5e-3, atol=5e-4, err_msg=f"{name}, update {update}")
        assert device.steps == host.steps
    before, after = host.contents(), device.contents()
    for part, saved in before.files.items():
        assert after.files[part].keys() == saved.keys()
        for name, array in saved.items():
            if name != "records":  # bytes of numbers
                np.testing.assert_allclose(after.files[part][name], array, rtol=2e-2, atol=5e-4, err_msg=name)
    assert before.state["episodes"] == after.state["episodes"]
    assert device.engine._whole._cache_size() == 1


def test_what_needs_the_host_between_collection_and_update_goes_there():
    host, device = (run_of(flag, ppo={"advantage": "vtrace"}) for flag in (False, True))
    assert not device.engine.whole
    theirs, ours = host.advance(), device.advance()
    for name in ("losses/value_loss", "losses/approx_kl", "episode/count"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=5e-3, atol=1e-6)


def test_cartpole_is_learnt_on_the_device_resumed_and_continued_on_the_host(tmp_path):
    run = train("cartpole", backend="jax", timesteps=100_000, options={"jax.device_envs": True}, out=str(tmp_path))
    assert evaluate("cartpole", run.checkpoint)["episode_return_mean"] >= 475
    saved = load_checkpoint(run.checkpoint)
    assert saved.manifest["exact"] is False
    more = train(resume=run.checkpoint, timesteps=run.summary["steps"] + 4096, out=str(tmp_path))
    native = train(resume=run.checkpoint, backend="native", timesteps=run.summary["steps"] + 4096, out=str(tmp_path))
    assert min(other.summary["episode_return_mean"] for other in (more, native)) > 400
    assert more.summary["episodes"] == native.summary["episodes"]
    streams = [load_checkpoint(other.checkpoint).files["envs"]["records"][:, 16:24] for other in (run, more, native)]
    assert np.array_equal(streams[0], streams[1])
    assert np.array_equal(streams[0], streams[2])


def test_states_and_parameters_that_are_not_finite_stop_a_run_where_the_host_would():
    run = run_of(True)
    state = run.vec.state()
    state["obs"][3, 0] = np.nan
    run.vec.set_state(state)
    run.segment.obs[0] = state["obs"]
    with pytest.raises(NonFiniteError, match="NaN or infinity in the observation of environment 3 at row 0 of the segment"):
        run.advance()
    assert run.phase == "collect"
    run = run_of(True)
    run.state["value.bias"][...] = np.inf
    run.engine.push()
    with pytest.raises(NonFiniteError, match="loss or its gradient, update 0, minibatch 0; the step was not taken"):
        run.advance()
    assert run.phase == "update"
    assert np.isinf(run.segment.value).all()  # what goes into the bundle is what came
    assert run.segment.valid.all()


def test_environments_without_a_form_for_devices_are_refused():
    with pytest.raises(
        ConfigError, match=r"acrobot has no form for devices .*; these have: cartpole, catch, pendulum, squared"
    ):
        resolve({"env": "acrobot", "backend": "jax", "jax": {"device_envs": True}})
    resolve({"env": "acrobot", "backend": "native", "jax": {"device_envs": True}})  # a section of another back end
