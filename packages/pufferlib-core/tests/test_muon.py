"""Muon: its formulas, the core's step, and runs that use it."""

import itertools

import numpy as np
import pytest
from pufferlib_core import evaluate, load_checkpoint, native, train
from pufferlib_core.algorithms.ppo import PPOConfig, check_config
from pufferlib_core.backends.params import c_net, served
from pufferlib_core.data import aligned_zeros
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.native import ffi, lib
from pufferlib_core.ops.optim import adam, muon, orthogonalized
from pufferlib_core.policies import PolicyConfig
from pufferlib_core.testing.trials import CASES

RNG = np.random.default_rng(0)
SETTINGS = {"rate": 0.1, "decay": 0.9, "weight_decay": 0.01}


def test_one_number_by_hand():
    """f(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5, five times from 1: 0.7010, 1.1136, 0.7207, 1.0900, 0.6964."""
    one = np.ones((1, 1))
    assert orthogonalized(7 * one, xp=np).item() == pytest.approx(0.6964364)
    param, mean = muon(one, 2 * one, 0 * one, rate=0.1, decay=0.95, weight_decay=0.5, xp=np)
    assert mean.item() == pytest.approx(0.1)
    assert param.item() == pytest.approx(1 - 0.1 * 0.5 - 0.1 * 0.2 * 0.6964364)


def test_a_step_of_adam_by_hand():
    param, m, v = adam(1.0, 3.0, 1.0, 4.0, step=2, rate=0.1, beta1=0.5, beta2=0.75, epsilon=0.0, weight_decay=0.5, xp=np)
    assert (m, v) == (2.0, 5.25)
    assert param == pytest.approx(0.95 - 0.1 * (2 / 0.75) / np.sqrt(5.25 / 0.4375))


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (16, 16), (2, 70)])
def test_singular_values_come_near_1_and_their_vectors_stay(shape):
    x = RNG.normal(size=shape)
    u, s, v = np.linalg.svd(x, full_matrices=False)
    y = orthogonalized(x, xp=np)
    inside = u.T @ y @ v.T
    assert np.abs(inside - np.diag(np.diag(inside))).max() < 1e-9
    assert (np.diag(inside)[s > np.linalg.norm(s) / 500] > 0.68).all()
    assert np.diag(inside).max() < 1.21
    np.testing.assert_allclose(orthogonalized(1e3 * x.T, xp=np), y.T, atol=1e-6)  # but for the 1e-7 beside the norm
    np.testing.assert_allclose(orthogonalized(x[:, ::-1], xp=np), y[:, ::-1], atol=1e-9)


def test_a_step_is_as_long_as_one_of_adam_and_other_sides_count_as_one():
    grad = RNG.normal(size=(24, 3, 4, 5))
    zero = np.zeros_like(grad)
    moved, _ = muon(zero, grad, zero, rate=1.0, decay=0.95, xp=np)
    assert np.sqrt(np.mean(moved**2)) == pytest.approx(0.2, rel=0.2)
    flat, _ = muon(zero.reshape(24, 60), grad.reshape(24, 60), zero.reshape(24, 60), rate=1.0, decay=0.95, xp=np)
    assert np.array_equal(flat.reshape(grad.shape), moved)


def stepped(isa, threads, shape, steps=3):
    """Parameters and momentum of the core, and of the formulas in float64."""
    rng = np.random.default_rng(1)
    ours = [aligned_zeros(shape, np.float32) for _ in range(2)]
    ours[0][...] = rng.normal(size=shape)
    theirs = [array.astype(np.float64) for array in ours]
    scratch = aligned_zeros(lib.puf_muon_scratch(*shape), np.float32)
    config = ffi.new("puf_muon_config *", [SETTINGS["rate"], SETTINGS["decay"], SETTINGS["weight_decay"], 0.5])
    for _ in range(steps):
        grad = rng.normal(size=shape).astype(np.float32)
        param, mean, where = (ffi.from_buffer("float[]", array) for array in (*ours, grad))
        status = lib.puf_muon(
            isa, native.Pool(threads).exec, config, param, where, mean, *shape, ffi.from_buffer("float[]", scratch)
        )
        native.check(status, "muon")
        theirs = list(muon(theirs[0], 0.5 * grad.astype(np.float64), theirs[1], **SETTINGS, xp=np))
    return ours, theirs


@pytest.mark.parametrize("shape", [(1, 1), (5, 33), (33, 5), (64, 64), (130, 70), (150, 100)])
@pytest.mark.parametrize("isa", native.isa_names().values(), ids=native.isa_names())
def test_the_core_follows_the_formulas(isa, shape):
    ours, theirs = stepped(isa, 1, shape)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_threads_change_no_bit():
    one, three = (stepped(native.isa(), threads, (150, 100), 1)[0] for threads in (1, 3))
    assert [array.tobytes() for array in one] == [array.tobytes() for array in three]


def test_arguments_that_are_not_legal():
    assert [lib.puf_muon_scratch(*sides) for sides in ((0, 3), (3, -1), (1 << 20, 1 << 12))] == [0, 0, 0]
    assert lib.puf_muon(0, ffi.NULL, *[ffi.NULL] * 4, 2, 2, ffi.NULL) == lib.PUF_EINVAL
    assert lib.puf_muon_step(0, *[ffi.NULL] * 3, 0.9, 1, *[ffi.NULL] * 6) == lib.PUF_EINVAL


@pytest.mark.parametrize("case", CASES)
def test_python_and_the_core_agree_on_what_it_serves(case):
    spec = CASES[case].spec
    net, found = c_net(spec), ffi.new("puf_tensor *")
    for i, tensor in enumerate(spec.tensors()):
        assert lib.puf_net_tensor(net, i, found) == 0
        assert bool(found.hidden) == tensor.hidden
        kind = tensor.name.rsplit(".", 1)[-1]
        head = tensor.name.startswith(("policy", "value"))
        assert tensor.hidden == (kind in ("weight", "input", "state") and not head)
    assert lib.puf_muon_served(net) == sum(t.size for t in spec.tensors() if t.hidden)
    assert served(spec, "adam") == set()


def test_runs_keep_what_muon_needs_and_go_on_bit_for_bit(tmp_path):
    options = {"ppo.optimizer": "muon", "policy.core": "lstm", "policy.core_size": 20, "train.threads": 2}
    whole = train("cartpole", timesteps=6_144, checkpoint_every=2_048, options=options, out=str(tmp_path))
    first = min((whole.run_dir / "checkpoints").iterdir())
    again = train(resume=first, out=str(tmp_path), options={"train.threads": 1})
    a, b = (load_checkpoint(run.checkpoint).files for run in (whole, again))
    for part in ("policy", "trainer"):
        assert {name: array.tobytes() for name, array in a[part].items()} == {
            name: array.tobytes() for name, array in b[part].items()
        }
    assert "trunk.core.state" in a["policy"]
    kept = {name for name in a["trainer"] if name.startswith("muon/")}
    assert kept == {f"muon/momentum/trunk.{name}" for name in ("0.weight", "1.weight", "core.input", "core.state")}
    assert all(a["trainer"][name].any() for name in kept)
    assert not {f"adam/{which}/trunk.0.weight" for which in "mv"} & set(a["trainer"])
    assert {f"adam/{which}/{name}" for which, name in itertools.product("mv", ("policy.weight", "trunk.0.bias"))} <= set(
        a["trainer"]
    )


@pytest.mark.parametrize(("before", "after"), [("adam", "muon"), ("muon", "adam")])
def test_a_run_keeps_its_optimizer(tmp_path, before, after):
    run = train("cartpole", timesteps=2048, options={"ppo.optimizer": before}, out=str(tmp_path))
    with pytest.raises(CheckpointError, match=f"moments of {before}, .* ppo.optimizer={after}: it cannot .* choose {before}"):
        train(resume=run.run_dir, timesteps=4096, options={"ppo.optimizer": after}, out=str(tmp_path))


def test_networks_of_ones_own_are_refused():
    with pytest.raises(ConfigError, match=r"a module's these are is not known: choose adam for policy\.module=a:b"):
        check_config(PPOConfig(optimizer="muon"), PolicyConfig(module="a:b"), 64)


def test_cartpole_is_learnt(tmp_path, learning_seed):
    run = train("cartpole", seed=learning_seed, options={"ppo.optimizer": "muon"}, out=str(tmp_path))
    assert run.summary["steps"] <= 100_000 + 2048
    assert evaluate("cartpole", run.checkpoint)["episode_return_mean"] >= 475
