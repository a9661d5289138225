"""Policies as data: encoders, cores, tensors and what they refuse."""

import array_api_compat.numpy as xp
import numpy as np
import pytest
from pufferlib_core.backends import get_backend
from pufferlib_core.data import handed_on
from pufferlib_core.encoders import CONVOLUTIONS, Conv, convolutions
from pufferlib_core.errors import ConfigError, SpaceError
from pufferlib_core.native import ffi, lib
from pufferlib_core.ops.cores import gru, lstm
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete, MultiDiscrete

NATIVE = get_backend("native")
IMAGE = Box(0, 255, (84, 84, 4), np.uint8)
NESTED = Dict({"eye": Box(0, 255, (12, 10, 3), np.uint8), "self": Box(-1, 1, (5,)), "tool": Discrete(4)})


def make(obs, **config):
    return PolicySpec(obs_space=obs, action_space=Discrete(3), config=PolicyConfig(**config))


SPECS = {
    "nature": make(IMAGE, conv=("nature",), hidden=(512,), activation="relu"),
    "impala_small": make(IMAGE, conv=("impala_small",), hidden=(256,), core="lstm", core_size=8),
    "nested": make(NESTED, conv=("8:3:2", "4:2:1"), encoder=(7, 6), hidden=(16, 9), core="gru", core_size=5, separate=True),
    "lstm": make(Box(-1, 1, (6,)), hidden=(8,), core="lstm", core_size=4),
    "gray": make(Box(-1, 1, (10, 5)), conv=("8:3:1",), hidden=(8,)),
}


@pytest.mark.parametrize("name", sorted(SPECS))
def test_the_core_lays_tensors_out_as_they_are_named(name):
    spec = SPECS[name]
    net = NATIVE.c_net(spec)
    tensors = spec.tensors()
    assert (lib.puf_net_tensors(net), lib.puf_net_params(net)) == (len(tensors), spec.params)
    assert (lib.puf_net_encoded(net), lib.puf_net_carry(net)) == (spec.encoded, spec.carry)
    if name == "nature":
        return  # its initial values take seconds
    params = NATIVE.initial_params(spec, 1)
    for i, t in enumerate(tensors):
        tensor = ffi.new("puf_tensor *")
        assert lib.puf_net_tensor(net, i, tensor) == 0
        assert (tensor.offset, tensor.rows, tensor.rows * tensor.cols) == (t.offset, t.shape[0], t.size)
        values = params[t.offset : t.offset + t.size].astype(np.float64)
        if t.name.endswith("bias"):
            forget = np.repeat([0, 1, 0, 0], spec.config.core_size) if t.name.endswith("core.bias") and spec.gates == 4 else 0
            assert (values == forget).all()
            continue
        w = values.reshape(t.shape[0], -1)
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        gain = {"policy.weight": 0.01, "value.weight": 1.0}.get(t.name, 1.0 if ".core." in t.name else np.sqrt(2))
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=2e-5 * gain)


def test_names_and_shapes():
    shapes = {t.name: t.shape for t in SPECS["nested"].tensors()}
    assert shapes["actor.encoder.0.1.weight"] == (4, 8, 2, 2)
    assert shapes["critic.encoder.1.0.weight"] == (7, 5)
    assert shapes["critic.encoder.2.1.bias"] == (6,)
    assert shapes["actor.0.weight"] == (16, 4 * 3 * 4 + 6 + 6)  # 12x10 -> 5x4 -> 4x3
    assert shapes["actor.core.input"] == (15, 9)
    assert shapes["actor.core.state"] == (15, 5)
    assert shapes["policy.weight"] == (3, 5)
    assert SPECS["nested"].carry == 10
    assert SPECS["nature"].encoded == 3136  # Mnih et al. 2015


def test_images_are_scaled_and_vectors_normalised():
    assert make(Box(-1, 1, (3,))).preprocessing(None) is None
    mean, scale, bound = SPECS["nature"].preprocessing(None)
    assert (mean == 0).all()
    assert (scale == np.float32(1 / 255)).all()
    assert bound == np.inf
    spec = make(NESTED, conv=("8:3:2",), normalize_obs=True, obs_clip=5.0)
    moments = Moments(np.full(369, 2.0), np.full(369, 4.0), 10.0)
    mean, scale, bound = spec.preprocessing(moments)
    assert set(mean[:360]) == {0}
    assert set(mean[360:]) == {2}
    np.testing.assert_allclose(scale[[0, 360]], [1 / 255, 0.5], rtol=1e-6)
    assert bound == 5


def test_convolutions_by_name_or_one_by_one():
    assert convolutions(("nature",)) == CONVOLUTIONS["nature"]
    assert convolutions(("16:3:2", "8:1:1")) == (Conv(16, 3, 2), Conv(8, 1, 1))


@pytest.mark.parametrize(
    ("obs", "config", "error", "text"),
    [
        (IMAGE, {"conv": ("natur",)}, ConfigError, "'natur' is neither filters:kernel:stride"),
        (IMAGE, {"conv": ("nature", "32:8:4")}, ConfigError, "'nature' is neither"),
        (IMAGE, {"conv": ("0:8:4",)}, ConfigError, "'0:8:4' is neither"),
        (Box(-1, 1, (6,)), {"conv": ("nature",)}, ConfigError, "needs an image"),
        (MultiDiscrete([2, 3]), {"encoder": (8,)}, ConfigError, "vectors of a nested observation"),
        (
            Box(0, 255, (10, 10, 3), np.uint8),
            {"conv": ("nature",)},
            SpaceError,
            "kernel of 4 does not fit.*1x1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(obs, config, error, text):
    with pytest.raises(error, match=text):
        make(obs, **config).tensors()


def test_descriptions_survive_json():
    for spec in SPECS.values():
        assert PolicySpec.from_json(spec.to_json()) == spec


def test_what_is_handed_on():
    before, after = np.full((4, 2), 1, np.float32), np.full((4, 2), np.nan, np.float32)
    after[0] = 2
    handed = handed_on(before, after, np.array([0, 0, 1, 1]), np.array([1, 0, 0, 1]))
    np.testing.assert_array_equal(handed, [[2, 2], [1, 1], [0, 0], [0, 0]])


def test_a_step_of_an_lstm_by_hand():
    # One number each: gates i, f, g, o are x + 2 h + (0, 1, 0, 0); x = 0.5, h = 0.25, c = -1.
    i, f, g, o = (1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-2.0)), np.tanh(1.0), 1 / (1 + np.exp(-1.0)))
    c = f * -1 + i * g
    out = lstm(
        np.array([[0.5]]), np.array([[0.25, -1.0]]), np.ones((4, 1)), np.full((4, 1), 2.0), np.array([0.0, 1, 0, 0]), xp=xp
    )
    np.testing.assert_allclose(out, [[o * np.tanh(c), c]], rtol=1e-12)


def test_a_step_of_a_gru_by_hand():
    # r and z read x + 2 h = 1, n reads x + r * 2 h.
    r = z = 1 / (1 + np.exp(-1.0))
    n = np.tanh(0.5 + r * 0.5)
    out = gru(np.array([[0.5]]), np.array([[0.25]]), np.ones((3, 1)), np.full((3, 1), 2.0), np.zeros(3), xp=xp)
    np.testing.assert_allclose(out, [[(1 - z) * n + z * 0.25]], rtol=1e-12)
