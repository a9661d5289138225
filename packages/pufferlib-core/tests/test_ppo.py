"""PPO in the core: loss and gradient against formulas in float64, independence of threads and of invalid rows."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core import native
from pufferlib_core.algorithms.ppo import PPOConfig, check_config
from pufferlib_core.backends import get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.errors import ConfigError, NativeError, ShapeError
from pufferlib_core.native import ffi, lib
from pufferlib_core.ops.distributions import categorical, gaussian, masked_logits, mixed
from pufferlib_core.ops.ppo import Coefficients, loss, value_loss
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiBinary, MultiDiscrete

NATIVE = get_backend("native", "ppo.update")
OBS = Box(-10, 10, (5,))
ACTIONS = {
    "discrete": Discrete(3), "multi": MultiDiscrete([2, 4]), "binary": MultiBinary(2), "gauss": Box(-1, 1, (2,)),
    "mixed": Mixed(MultiDiscrete([3, 2]), Box(-1, 1, (2,))),
}  # fmt: skip


def make_spec(kind: str = "discrete", **config) -> PolicySpec:
    options = {"hidden": [12, 9]} | config
    return PolicySpec(obs_space=OBS, action_space=ACTIONS[kind], config=from_dict(PolicyConfig, options))


def forward64(spec: PolicySpec, flat: np.ndarray, obs: np.ndarray):
    """Logits and values by the definition, float64."""
    p = {t.name: flat[t.offset : t.offset + t.size].reshape(t.shape).astype(np.float64) for t in spec.tensors()}
    act = np.tanh if spec.config.activation == "tanh" else lambda x: np.maximum(x, 0)

    def trunk(part):
        h = obs.astype(np.float64)
        for k in range(len(spec.config.hidden)):
            h = act(h @ p[f"{part}.{k}.weight"].T + p[f"{part}.{k}.bias"])
        return h

    actor, critic = (trunk("actor"), trunk("critic")) if spec.config.separate else (trunk("trunk"),) * 2
    logits = actor @ p["policy.weight"].T + p["policy.bias"]
    value = (critic @ p["value.weight"].T + p["value.bias"])[:, 0]
    return logits, value, p.get("log_std")


def dist64(spec, logits, log_std, action, mask=None):
    """Log-probability and entropy by the oracle."""
    if isinstance(spec.action_space, Mixed):
        squashed = spec.config.squash
        return mixed(logits, log_std, action["choices"], action["numbers"], spec.nvec, mask, squashed=squashed, xp=np)
    if spec.numbers:
        return gaussian(logits, log_std, action, xp=np)
    return categorical(masked_logits(logits, mask, xp=np), action.reshape(len(action), -1), spec.action_space.nvec, xp=np)


def loss64(spec, config, flat, batch, index):
    """The total loss of rows by the oracle, in float64."""
    rows = index[batch["valid"][index] != 0]
    logits, value, log_std = forward64(spec, flat, batch["obs"][rows])
    mask = batch["mask"][rows] if batch["mask"] is not None else None
    logprob, entropy = dist64(spec, logits, log_std, batch["action"][rows], mask)
    old = {name: batch[name][rows].astype(np.float64) for name in ("logprob", "advantage", "target", "value")}
    total, parts = loss(
        logprob, entropy, value, old_logprob=old["logprob"], advantage=old["advantage"], target=old["target"],
        old_value=old["value"], valid=np.ones(len(rows)), config=config,
        coefficients=Coefficients(config.learning_rate, config.clip, config.entropy_coef, config.kl_coef), xp=np,
    )  # fmt: skip
    return total, [parts[name] for name in METRICS]


METRICS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")


def make_batch(spec, rows, seed=0, masked=False):
    rng = np.random.default_rng(seed)
    space = spec.action_space
    mask = None
    if masked:
        mask = (rng.random((rows, sum(spec.nvec))) < 0.7).astype(np.uint8)
        first = 0
        for n in space.nvec:
            mask[:, first] = 1
            first += n
    numbers = rng.normal(size=(rows, spec.numbers)).astype(np.float32)
    action = numbers
    if spec.nvec:
        action = np.stack([rng.integers(0, 1 if masked else n, rows) for n in space.nvec], 1).astype(np.int32)
        action = np.ascontiguousarray(action.reshape(rows, *space.shape or [len(spec.nvec)]))
    if isinstance(space, Mixed):
        chosen, action = action, np.zeros(rows, space.dtype)
        action["choices"], action["numbers"] = chosen, numbers

    def f4():
        return rng.normal(size=rows).astype(np.float32)

    return {"obs": rng.normal(size=(rows, 5)).astype(np.float32), "action": action, "mask": mask, "logprob": f4() * 0.3 - 1.2,
            "advantage": f4(), "target": f4(), "value": f4(), "valid": np.ones(rows, np.uint8)}  # fmt: skip


def gradient(spec, config, params, batch, index, threads=1, spoilt=None):
    """Loss parts and gradient by the core; with a memory, `index` names environments of batch["steps"] rows each.

    `spoilt` names those of a gradient by the same memory before, which failed because its parameters were not finite.
    """
    rows, steps = len(batch["obs"]), batch.get("steps", 1)
    pool = native.Pool(threads)
    policy = NATIVE.NativePolicy(spec, params, None, pool)
    memory = native.memory(lib.puf_ppo_bytes(policy.handle, rows, rows, steps, lib.PUF_ADAM), "ppo")
    handle = ffi.new("puf_ppo **")
    native.check(
        lib.puf_ppo_init(handle, ffi.from_buffer(memory), memory.nbytes, policy.handle, rows, rows, steps, lib.PUF_ADAM), "ppo"
    )
    b = ffi.new("puf_batch *")
    b.obs, b.action, b.rows = ffi.from_buffer("float[]", batch["obs"]), ffi.from_buffer(batch["action"]), rows
    for name in ("logprob", "advantage", "target", "value"):
        setattr(b, name, ffi.from_buffer("float[]", batch[name]))
    for name in ("valid", "terminated", "truncated"):
        if name in batch:
            setattr(b, name, ffi.from_buffer("uint8_t[]", batch[name]))
    if "carry" in batch:
        b.carry = ffi.from_buffer("float[]", batch["carry"])
    if batch["mask"] is not None:
        b.action_mask = ffi.from_buffer("uint8_t[]", batch["mask"])
    c = ffi.new("puf_ppo_config *")
    for name in ("clip", "value_clip", "dual_clip", "value_coef", "entropy_coef", "kl_coef", "normalize_advantage", "epochs"):
        setattr(c, name, getattr(config, name))
    c.minibatch = rows
    grads, metrics = np.zeros(spec.params, np.float32), ffi.new("puf_ppo_metrics *")

    def run(index, params):
        index = index.astype(np.int32)
        return lib.puf_ppo_gradient(
            handle[0], pool.exec, c, b, ffi.from_buffer("int32_t[]", index), len(index), ffi.from_buffer("float[]", params),
            ffi.from_buffer("float[]", grads), metrics,
        )  # fmt: skip

    if spoilt is not None:
        assert run(spoilt, np.full_like(params, np.nan)) == lib.PUF_ENONFINITE
    native.check(run(index, params), "gradient")
    return grads, metrics


CASES = {
    "discrete": ("discrete", {}, {}, False),
    "relu separate": ("discrete", {"activation": "relu", "separate": True}, {}, False),
    "multi-discrete": ("multi", {}, {"entropy_coef": 0.05}, False),
    "masked": ("multi", {}, {"entropy_coef": 0.05}, True),
    "binary": ("binary", {"hidden": [7]}, {"value_clip": 0.3}, False),
    "gaussian": ("gauss", {"log_std_init": -0.3}, {"entropy_coef": 0.05}, False),
    "mixed": ("mixed", {"log_std_init": -0.3}, {"entropy_coef": 0.05}, False),
    "mixed squashed": ("mixed", {"squash": True, "log_std_init": -0.3}, {"entropy_coef": 0.3}, False),
    "mixed separate masked": ("mixed", {"separate": True}, {"entropy_coef": 0.05}, True),
    "gaussian separate": ("gauss", {"separate": True, "hidden": [16, 16, 16]}, {"dual_clip": 2.0}, False),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("isa", sorted(native.isa_names()))
def test_gradient_is_that_of_the_loss(case, isa, monkeypatch):
    monkeypatch.setenv("PUFFER_ISA", isa)
    native.isa.cache_clear()
    kind, policy_options, ppo_options, masked = CASES[case]
    spec = make_spec(kind, **policy_options)
    config = from_dict(PPOConfig, {"normalize_advantage": True, "entropy_coef": 0.01} | ppo_options)
    rng = np.random.default_rng(1)
    params = NATIVE.initial_params(spec, 3) + rng.normal(size=spec.params).astype(np.float32) * 0.2
    batch = make_batch(spec, 83, masked=masked)
    index = rng.permutation(83)[:70]
    grads, metrics = gradient(spec, config, params, batch, index)
    native.isa.cache_clear()
    _, parts = loss64(spec, config, params, batch, index)
    assert [getattr(metrics, name) for name in METRICS] == pytest.approx(parts, rel=2e-4, abs=2e-5)
    direction = rng.normal(size=spec.params)
    for k in range(3):  # along random directions, and one parameter of each tensor
        direction = rng.normal(size=spec.params) if k else grads.astype(np.float64)
        h = 1e-5 / np.abs(direction).max()
        plus, minus = (loss64(spec, config, params.astype(np.float64) + s * h * direction, batch, index)[0] for s in (1, -1))
        assert grads.astype(np.float64) @ direction == pytest.approx((plus - minus) / (2 * h), rel=2e-3, abs=1e-4)
    for t in spec.tensors():
        unit = np.zeros(spec.params)
        unit[t.offset + t.size // 2] = 1e-5
        plus, minus = (loss64(spec, config, params.astype(np.float64) + s * unit, batch, index)[0] for s in (1, -1))
        assert grads[t.offset + t.size // 2] == pytest.approx((plus - minus) / 2e-5, rel=5e-3, abs=2e-4), t.name


@pytest.mark.parametrize("kind", ["multi", "mixed"])
def test_gradient_does_not_depend_on_threads_or_on_rows_that_are_not_valid(kind):
    spec = make_spec(kind)
    config = PPOConfig()
    params = NATIVE.initial_params(spec, 3)
    batch = make_batch(spec, 900)
    batch["valid"][::3] = 0
    index = np.random.default_rng(0).permutation(900)
    one, _ = gradient(spec, config, params, batch, index)
    assert gradient(spec, config, params, batch, index, threads=3)[0].tobytes() == one.tobytes()
    for name in ("obs", "logprob", "advantage", "target", "value"):
        batch[name][::3] = np.nan
    assert gradient(spec, config, params, batch, index, threads=2)[0].tobytes() == one.tobytes()


@pytest.mark.parametrize(("pair", "dual", "expected"), [
    ((1.5, 1), 0, -1.2), ((0.5, 1), 0, -0.5), ((1.5, -1), 0, 1.5), ((0.5, -1), 0, 0.8), ((4, -1), 0, 4), ((4, -1), 3, 3),
])  # fmt: skip
def test_clipped_loss_worked_numbers(pair, dual, expected):
    spec = make_spec()
    params = NATIVE.initial_params(spec, 0)
    batch = make_batch(spec, 1)
    logits, _, _ = forward64(spec, params, batch["obs"])
    lp, _ = dist64(spec, logits, None, batch["action"])
    batch["logprob"][:] = lp - np.log(pair[0])
    batch["advantage"][:] = pair[1]
    config = from_dict(PPOConfig, {"normalize_advantage": False, "dual_clip": float(dual)})
    _, metrics = gradient(spec, config, params, batch, np.array([0]))
    assert metrics.policy_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ACTIONS)
def test_forward_act_and_position_independence(kind):
    spec = make_spec(kind, hidden=[33, 20])
    params = NATIVE.initial_params(spec, 4)
    obs = np.random.default_rng(2).normal(size=(101, 5)).astype(np.float32)
    policy = NATIVE.NativePolicy(spec, params, None, native.Pool(3))
    logits, value = policy.forward(obs)
    expected = forward64(spec, params, obs)
    np.testing.assert_allclose(logits, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, expected[1], rtol=1e-5, atol=1e-6)
    for i in (0, 31, 32, 100):
        alone, value_alone = policy.forward(obs[i : i + 1])
        assert alone.tobytes() == logits[i : i + 1].tobytes()
        assert value_alone[0] == value[i]
    action, logprob, _ = policy.act(obs, greedy=False, seed=1, step=7)
    lp, _ = dist64(spec, expected[0], expected[2], action)
    np.testing.assert_allclose(logprob, lp, rtol=1e-4, atol=1e-5)
    again, _, _ = policy.act(obs, greedy=False, seed=1, step=7)
    assert again.tobytes() == action.tobytes()
    assert policy.act(obs, greedy=False, seed=1, step=8)[0].tobytes() != action.tobytes()


def test_sampling_follows_the_probabilities_and_masks():
    spec = make_spec("discrete")
    params = NATIVE.initial_params(spec, 0)
    last = next(t for t in spec.tensors() if t.name == "policy.bias")
    params[last.offset : last.offset + 3] = np.log([0.2, 0.5, 0.3])
    policy = NATIVE.NativePolicy(spec, params, None, native.Pool(1))
    obs = np.zeros((50_000, 5), np.float32)
    action, _, _ = policy.act(obs, greedy=False)
    np.testing.assert_allclose(np.bincount(action) / len(action), [0.2, 0.5, 0.3], atol=0.01)
    mask = np.tile(np.array([1, 0, 1], np.uint8), (len(obs), 1))
    masked, logprob, _ = policy.act(obs, greedy=False, action_mask=mask)
    np.testing.assert_allclose(np.bincount(masked, minlength=3) / len(masked), [0.4, 0, 0.6], atol=0.01)
    assert logprob[masked == 0][0] == pytest.approx(np.log(0.4), rel=1e-4)
    assert (policy.act(obs[:4])[0] == 1).all()
    assert (policy.act(obs[:4], action_mask=mask[:4])[0] == 2).all()
    with pytest.raises(NativeError, match="mask"):
        policy.act(obs[:1], action_mask=np.zeros((1, 3), np.uint8))


def test_gaussian_samples_have_the_stated_moments():
    spec = make_spec("gauss", log_std_init=-0.5)
    policy = NATIVE.NativePolicy(spec, NATIVE.initial_params(spec, 0), None, native.Pool(1))
    action, _, _ = policy.act(np.zeros((60_000, 5), np.float32), greedy=False)
    np.testing.assert_allclose(action.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(action.std(0), np.exp(-0.5), rtol=0.02)


@pytest.mark.parametrize("kind", ["discrete", "gauss", "mixed"])
def test_initial_parameters_are_orthogonal_and_laid_out_as_named(kind):
    spec = make_spec(kind, hidden=[8, 16], separate=kind == "gauss")
    params = NATIVE.initial_params(spec, 1)
    net = NATIVE.c_net(spec)
    assert lib.puf_net_params(net) == spec.params
    for i, t in enumerate(spec.tensors()):
        tensor = ffi.new("puf_tensor *")
        assert lib.puf_net_tensor(net, i, tensor) == 0
        assert (tensor.offset, tensor.rows * tensor.cols) == (t.offset, t.size)
        w = params[t.offset : t.offset + t.size].reshape(t.shape).astype(np.float64)
        if len(t.shape) == 1:
            assert (w == 0).all()
            continue
        gain = {"policy.weight": 0.01, "value.weight": 1.0}.get(t.name, np.sqrt(2))
        gram = w @ w.T if t.shape[0] <= t.shape[1] else w.T @ w
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-5 * gain)


def test_settings_that_contradict_each_other():
    with pytest.raises(
        ConfigError, match=r"ppo.minibatch=2048 does not divide num_envs \* horizon = 6400; nearest that does: 1600"
    ):
        check_config(PPOConfig(horizon=64, minibatch=2048), PolicyConfig(), 100)
    with pytest.raises(ConfigError, match="dual_clip"):
        check_config(PPOConfig(dual_clip=0.5), PolicyConfig(), 64)
    check_config(PPOConfig(), PolicyConfig(), 64)
    with pytest.raises(ShapeError, match="layers"):
        NATIVE.c_net(make_spec(hidden=[4] * 9))
    with pytest.raises(ConfigError, match="cannot fly"):
        get_backend("native", "fly")


def test_value_clip_worked_numbers():
    assert float(value_loss(2.0, 1.0, 1.5, value_clip=0.2, xp=np)) == pytest.approx(0.125)
    assert float(value_loss(1.6, 1.0, 3.0, value_clip=0.2, xp=np)) == pytest.approx(1.62)


def test_rows_that_are_not_valid_do_not_reach_the_oracle():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(7, 20))
    valid = np.arange(20) % 3 != 0

    def total(planes):
        logprob, entropy, value, old_logprob, advantage, target, old_value = planes
        return loss(logprob, entropy, value, old_logprob=old_logprob, advantage=advantage, target=target, old_value=old_value,
                    valid=valid, config=PPOConfig(), coefficients=Coefficients(0, 0.2, 0.0), xp=np)[0]  # fmt: skip

    before = total(numbers)
    numbers[:, ~valid] = np.nan
    assert total(numbers) == before


@pytest.mark.parametrize(("rows", "size", "block"), [(2048, 512, 16), (96, 24, 8), (30, 5, 1)])
def test_minibatches_take_each_row_once_in_shuffled_blocks(rows, size, block):
    orders = [native.minibatches(rows, size, seed=1, update=u, epoch=e) for u, e in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert order.shape == (rows // size, size)
        assert sorted(order.ravel().tolist()) == list(range(rows))
        blocks = order.reshape(-1, block)
        np.testing.assert_array_equal(blocks, blocks[:, :1] + np.arange(block))
        assert (blocks[:, 0] % block == 0).all()
    assert len({order.tobytes() for order in orders}) == 3
    words = np.zeros(2 * (rows // block), np.uint32)
    stream = ffi.from_buffer("uint32_t[]", words)
    native.check(lib.puf_rng_fill(1, 2 << 48, 0, stream, rows // block), "rng")
    expected = list(range(rows // block))
    for draw, i in enumerate(range(rows // block - 1, 0, -1)):  # Fisher and Yates, from the stream of update 0
        j = int(words[2 * draw]) * (i + 1) >> 32
        expected[i], expected[j] = expected[j], expected[i]
    assert [b * block for b in expected] == orders[0].reshape(-1, block)[:, 0].tolist()


def test_minibatches_must_divide_the_rows():
    with pytest.raises(NativeError, match="minibatches of 7 from 30 rows"):
        native.minibatches(30, 7, seed=0, update=0)
