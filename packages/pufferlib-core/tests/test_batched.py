"""Vector environments of Gymnasium as batches: rows as those of separate environments, in every mode of autoreset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from batches_by_name import cartpole
from pufferlib_core import check_env, evaluate, make_vec, train
from pufferlib_core.errors import ConfigError, EnvError
from pufferlib_core.vector import env_spec, vectorize

N = 5


def course(vec, steps=60):
    """All that rows say where it means something, with actions that the masks allow."""
    rng = np.random.default_rng(0)
    seen = [vec.reset().obs.tobytes(), vec.latest.action_mask.tobytes()]
    for _ in range(steps):
        action = (rng.random((N, 3)) * vec.latest.action_mask).argmax(1).astype(np.int32)
        step = vec.step(action)
        seen += [
            getattr(step, name).tobytes() for name in ("reward", "cost", "terminated", "truncated", "valid", "action_mask")
        ]
        seen += [step.obs["at"].tobytes(), step.obs["side"].tobytes()]
        ended = (step.terminated | step.truncated) != 0
        seen += [step.log[ended].tobytes(), step.final_obs["at"][ended].tobytes()]
        if vec.autoreset == "disabled" and (step.valid == 0).sum() > 2:
            seen.append(vec.reset_some(step.valid == 0).obs["at"].tobytes())
    vec.close()
    return seen


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("batch", "single", "mode"),
    [
        ("NextStep", "Walk", "next_step"),
        ("SameStep", "Walk", "same_step"),
        ("Disabled", "Walk", "same_step"),
        ("Waits", "Uncounted", "next_step"),
        ("Waits", "Uncounted", "disabled"),
    ],
)
def test_rows_are_those_of_separate_environments(batch, single, mode, workers):
    def make(name, **more):
        return make_vec(f"batches_by_name:{name}", num_envs=N, autoreset=mode, **more)

    assert course(make(batch, workers=workers)) == course(make(single))


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_our_time_limit_around_batches_that_are_told_to_reset(mode):
    vecs = [
        vectorize(replace(env_spec(f"batches_by_name:{name}"), max_episode_steps=4), num_envs=N, autoreset=mode)
        for name in ("Waits", "Uncounted")
    ]
    assert course(vecs[0]) == course(vecs[1])


def test_a_native_vector_environment_of_gymnasium():
    """CartPole's own, in mode NextStep: its rows as they come, the step after an end not valid."""
    vec, raw = make_vec("batches_by_name:cartpole", num_envs=N, seed=6), cartpole(N)
    assert vec.autoreset == "next_step"
    seed = int(np.random.SeedSequence([6, 0, 0, 0]).generate_state(1)[0]) >> 1
    assert (vec.reset().obs == raw.reset(seed=seed)[0]).all()
    rng, over, episodes = np.random.default_rng(1), np.zeros(N, bool), 0
    for _ in range(200):
        action = rng.integers(0, 2, N)
        obs, reward, terminated, truncated, _ = raw.step(action)
        step = vec.step(action.astype(np.int32))
        assert (step.obs == obs).all()
        assert (step.reward == reward).all()
        assert (step.terminated == terminated).all()
        assert (step.truncated == truncated).all()
        assert (step.valid == ~over).all()
        over = terminated | truncated
        assert (step.final_obs[over] == obs[over]).all()
        episodes += over.sum()
    assert episodes > 20


@pytest.mark.parametrize("name", ["cartpole", "SameStep", "Disabled"])
def test_they_keep_the_contract(name):
    check_env(env_spec(f"batches_by_name:{name}"), steps=60, num_envs=4)


def test_a_batch_that_gives_its_state_is_exact():
    check_env(env_spec("batches_by_name:saved"), steps=60, num_envs=4)
    assert make_vec("batches_by_name:saved", num_envs=2).exact
    assert "the environment SyncVectorEnv has no get_state" in make_vec("batches_by_name:SameStep", num_envs=2).exact_reason


def test_cartpole_is_learnt_from_its_batch(tmp_path):
    """Rows that are not valid, one after each episode, do no harm."""
    options = {"train": {"num_envs": 16}, "ppo": {"horizon": 64, "minibatch": 256, "learning_rate": 3e-3, "epochs": 6}}
    run = train("batches_by_name:cartpole", timesteps=60_000, options=options, out=str(tmp_path), seed=1)
    assert evaluate("batches_by_name:cartpole", run.checkpoint, episodes=20)["episode_return_mean"] > 100  # at random: 22


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unsaid", "autoreset_mode'] must be one of NextStep, SameStep, Disabled, got None"),
        ("always_two", "give it a parameter num_envs"),
        ("single", "must return a vector environment of Gymnasium; got Walk"),
    ],
)
def test_factories_that_do_not_fit(name, message):
    with pytest.raises(EnvError, match=message.replace("[", r"\[")):
        env_spec(f"batches_by_name:{name}")


def test_mistakes_are_named():
    with pytest.raises(EnvError, match="asked for num_envs=2, the factory made 3"):
        make_vec("batches_by_name:three", num_envs=2)
    with pytest.raises(ConfigError, match="nextstep resets itself, it has 'next_step' only"):
        make_vec("batches_by_name:NextStep", num_envs=2, autoreset="same_step")
    with pytest.raises(EnvError, match="it resets itself, so that it must have its own time limit"):
        replace(env_spec("batches_by_name:SameStep"), max_episode_steps=3)
    vec = make_vec("batches_by_name:NextStep", num_envs=2)
    vec.reset()
    with pytest.raises(EnvError, match=r"resets itself \(NextStep\), some of its environments alone cannot be reset"):
        vec.reset_some(np.array([True, False]))
    vec = make_vec("batches_by_name:no_final", num_envs=2)
    vec.reset()
    for _ in range(2):
        vec.step(np.full(2, 2, np.int32))
    with pytest.raises(EnvError, match="info has no final_obs"):
        vec.step(np.full(2, 2, np.int32))
