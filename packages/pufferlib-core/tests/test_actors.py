"""Acting again and again on the same memory."""

import numpy as np
import pytest
from pufferlib_core.backends import get_backend
from pufferlib_core.backends.acting import Actor
from pufferlib_core.backends.params import initial_params, views
from pufferlib_core.backends.plain import PlainPolicy
from pufferlib_core.errors import ConfigError, NativeError, ShapeError
from pufferlib_core.native import Pool
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete, MultiDiscrete

NATIVE = get_backend("native")
NESTED = Dict({"eye": Box(0, 255, (4, 3), np.uint8), "tool": Discrete(4)})


def make(actions=None, obs=None, threads=1, **config):
    spec = PolicySpec(obs_space=obs or Box(-1, 1, (6,)), action_space=actions or Discrete(5), config=PolicyConfig(**config))
    return NATIVE.NativePolicy(spec, initial_params(spec, 0) * 9, None, Pool(threads))


@pytest.mark.parametrize(("rows", "threads"), [(1, 1), (31, 1), (33, 1), (300, 3)])
@pytest.mark.parametrize("greedy", [True, False])
def test_actors_do_what_act_does(rows, threads, greedy):
    rng = np.random.default_rng(0)
    policy = make(MultiDiscrete([3, 4]), NESTED, threads, core="gru", core_size=8)
    actor = policy.actor(rows, greedy=greedy, seed=3, masked=True)
    carry = np.zeros((rows, policy.spec.carry), np.float32)
    for step in range(3):
        actor.obs["eye"], actor.obs["tool"] = rng.integers(0, 256, (rows, 4, 3)), rng.integers(0, 4, rows)
        actor.action_mask[...] = rng.random((rows, 7)) < 0.5
        actor.action_mask[:, [0, 3]] = 1
        expected = policy.act(
            actor.obs, greedy=greedy, seed=3, step=step, action_mask=actor.action_mask, carry=carry
        )  # fmt: skip
        assert actor() is actor.action
        for theirs, ours in zip(expected, (actor.action, actor.logprob, actor.value), strict=True):
            assert theirs.tobytes() == ours.tobytes()
        assert np.array_equal(carry, actor.carry)
    assert actor.step == 3


def test_rows_act_as_they_do_alone():
    """Fewer rows than are worked on together give the same: neither what was there before nor the others count."""
    policy, obs = make(), np.random.default_rng(1).normal(size=(32, 6)).astype(np.float32)
    together = policy.act(obs, greedy=False, seed=2, step=4)
    for first, rows in ((0, 1), (5, 3), (15, 17), (31, 1)):
        some = policy.act(obs[first : first + rows], greedy=False, seed=2, step=4, first=first)
        for theirs, ours in zip(together, some, strict=True):
            assert theirs[first : first + rows].tobytes() == ours.tobytes()


def test_samples_follow_the_step_which_may_be_set():
    policy = make(Box(-1, 1, (2,)))
    actor = policy.actor(greedy=False)
    first, second = actor().copy(), actor().copy()
    assert not np.array_equal(first, second)
    actor.step = 0
    assert np.array_equal(actor(), first)
    actor.step = 1 << 40  # more than 32 bits of it count
    assert np.array_equal(actor(), policy.act(actor.obs, greedy=False, step=1 << 40)[0])


def test_parameters_are_those_of_the_moment():
    policy = make()
    actor = policy.actor()
    before = actor.value.copy(), actor() and actor.value.copy()
    policy.load(initial_params(policy.spec, 1) * 9, None)
    actor.obs[...] = 1
    actor()
    assert actor.value[0] == policy.forward(actor.obs)[1][0]
    assert actor.value[0] not in before


@pytest.mark.parametrize("native", [True, False])
def test_actors_refuse_what_they_cannot_do(native):
    policy = make()
    if not native:
        policy = PlainPolicy(policy.spec, views(policy.spec, initial_params(policy.spec, 0)))
    with pytest.raises(ShapeError, match="rows=0"):
        policy.actor(0)
    actor = policy.actor(masked=True)
    assert type(actor) is (NATIVE.NativeActor if native else Actor)
    actor.action_mask[...] = 0
    with pytest.raises(NativeError, match="mask empty"):
        actor()
    assert actor.step == 0
    with pytest.raises(ShapeError, match="choices"):
        make(Box(-1, 1, (2,))).actor(masked=True)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"seed": -1}, ConfigError, r"seed=-1 must be a whole number in \[0, 2\^64\)"),
        ({"seed": 0.5}, ConfigError, "seed=0.5 must be"),
        ({"rows": 0}, ShapeError, "rows=0"),
        ({"rows": 2.5}, ShapeError, "rows=2.5"),
        ({"rows": True}, ShapeError, "rows=True"),
    ],
)
@pytest.mark.parametrize("kind", [NATIVE.NativePolicy.actor, Actor])
def test_actors_say_what_is_wrong_when_they_are_made(kind, wrong, error, text):
    with pytest.raises(error, match=text):
        kind(make(), **wrong)


@pytest.mark.parametrize("kind", [NATIVE.NativePolicy.actor, Actor])
def test_the_memory_of_an_actor_cannot_be_replaced(kind):
    """The core would go on with what it knows; all back ends refuse it."""
    actor = kind(make(core="gru", core_size=8), masked=True)
    for name in ("obs", "action_mask", "carry"):
        with pytest.raises(AttributeError, match=rf"actor\.{name} stays .* write into actor\.{name}\[\.\.\.\]"):
            setattr(actor, name, getattr(actor, name).copy())
        getattr(actor, name)[...] = 1
    with pytest.raises(AttributeError, match="make another actor"):
        actor.greedy = False
    with pytest.raises(ConfigError, match=r"step=-1 must be a whole number in \[0, 2\^64\)"):
        actor.step = -1


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    "obs", [np.zeros((2, 6)), np.zeros((2, 6), np.int64), np.zeros((2, 7), np.float32), np.zeros(6, np.float32)]
)
def test_observations_that_do_not_fit_are_refused_alike(native, obs):
    policy = make()
    if not native:
        policy = PlainPolicy(policy.spec, views(policy.spec, initial_params(policy.spec, 0)))
    with pytest.raises(ShapeError, match=r"obs must be float32 .*, as environments write it; got "):
        policy.act(obs)
