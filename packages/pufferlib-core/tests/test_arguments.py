"""Arguments of a wrong type or value: an error of ours names the argument and what came."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core import check_env, evaluate, load_checkpoint, load_policy, make_vec, replay, train
from pufferlib_core.errors import PufferError, ShapeError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(
        "cartpole", timesteps=np.int64(512), num_envs=np.int32(16), seed=np.uint8(3), out=tmp_path_factory.mktemp("runs")
    )


def trained(**given):
    return lambda run, out: train("cartpole", timesteps=512, out=out, **given)


def made(**given):
    return lambda run, out: make_vec(**{"name": "cartpole", "num_envs": 2} | given)


def evaluated(env="cartpole", checkpoint=None, **given):
    return lambda run, out: evaluate(env, run.run_dir if checkpoint is None else checkpoint, **given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (trained(callbacks=[3]), r"callbacks must be a list of objects with __call__; got \[3\]"),
        (trained(callbacks=print), "callbacks must be a list"),
        (trained(loggers=[3]), r"loggers must be a list of objects with start, write, close; got \[3\]"),
        (trained(loggers=3), "loggers must be a list"),
        (trained(options=[1]), r"options must map names of settings to values, got \[1\]"),
        (trained(options={3: 1}), "options must map names of settings to values, got {3: 1}"),
        (trained(options={"ppo": {3: 1}}), "options must map names of settings to values, got {3: 1}"),
        (trained(options={"train": 3}), "train is a section of settings, got 3"),
        (trained(options={"train.threads": 257}), r"train\.threads=257 must be in \[0, 256\]"),
        (trained(resume=3), "resume must be a path .*, got 3"),
        (trained(seed=1.5), "seed must be int, got 1.5"),
        (evaluated(episodes="3"), "episodes='3' must be a whole number, at least 1"),
        (evaluated(episodes=1.5), "episodes=1.5 must be"),
        (evaluated(episodes=True), "episodes=True must be"),
        (evaluated(env=3), "an environment is given by its name, .* got 3"),
        (evaluated(checkpoint=3), "checkpoint must be a path .*, got 3"),
        (evaluated(options=[1]), "options must map"),
        (lambda run, out: load_policy(None), "path must be a path .*, got None"),
        (lambda run, out: load_policy(run.run_dir, threads="2"), r"threads='2' must be a whole number in \[1, 256\]"),
        (lambda run, out: load_checkpoint(3), "path must be a path .*, got 3"),
        (lambda run, out: replay(3), "path must be a path .*, got 3"),
        (made(name=None), "an environment is given by its name, .* got None"),
        (made(config=[1]), "config must map"),
        (made(threads="2"), "threads='2' must be"),
        (made(threads=2**40), "threads=1099511627776 must be"),
        (made(threads=100_000), "threads=100000 must be"),
        (made(num_envs=2.0), "num_envs=2.0 must be"),
        (made(autoreset=3), "unknown autoreset mode 3"),
        (lambda run, out: check_env(3), "spec must be an EnvSpec, .* got 3"),
    ],
)
def test_a_wrong_argument_is_named(call, message, run, tmp_path):
    with pytest.raises(PufferError, match=message):
        call(run, tmp_path)
    assert not list(tmp_path.iterdir())  # it is found before anything is done


def test_whole_numbers_of_numpy_are_taken(run):
    assert run.summary["seed"] == 3
    assert evaluate("cartpole", run.run_dir, episodes=np.int64(3), seed=np.int64(1))["episodes"] == 3
    vec = make_vec("cartpole", num_envs=np.int64(2), seed=np.int64(1), threads=np.int8(2))
    assert vec.reset().obs.shape == (2, 4)
    vec.close()


@pytest.mark.parametrize("method", ["act", "forward"])
@pytest.mark.parametrize(
    ("obs", "came"),
    [([[0, 0, 0, 0]], "list"), (np.zeros(4, np.float32), r"float32 \(4,\)"), (np.float32(0), "float32"), (3, "int")],
)
def test_observations_of_another_form_are_refused(method, obs, came, run):
    with pytest.raises(ShapeError, match=rf"obs must be float32 \(N, 4\), as environments write it; got {came}"):
        getattr(load_policy(run.run_dir), method)(obs)
