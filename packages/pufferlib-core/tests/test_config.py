"""Settings: types, ranges, suggestions, TOML."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.config import dumps_toml, from_dict, load_toml, merge, nest, parse_value, to_dict
from pufferlib_core.errors import ConfigError, MissingExtra, UnknownName, require
from pufferlib_core.loops.settings import TrainConfig, resolve
from pufferlib_core.policies import PolicyConfig
from pufferlib_core.seeding import check_seed

scalars = st.one_of(st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text())
names = st.from_regex("[a-z]{1,8}", fullmatch=True)
leaves = st.one_of(scalars, st.lists(st.integers(-9, 9), max_size=4))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(names, st.one_of(leaves, st.dictionaries(names, leaves, max_size=4)), max_size=5))
def test_toml_round_trip(values):
    expected = {k: v for k, v in values.items() if not isinstance(v, dict) or v}
    assert tomllib.loads(dumps_toml(values)) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"horzion": 3}, "unknown setting ppo.horzion; did you mean ppo.horizon?"),
        ({"xyz": 3}, "unknown setting ppo.xyz; known: horizon"),
        ({"gamma": 1.5}, r"ppo.gamma=1.5 must be in \[0.0, 1.0\]"),
        ({"gamma": "high"}, "ppo.gamma must be float, got 'high'"),
        ({"gamma": float("nan")}, "must be finite"),
        ({"epochs": 0}, "ppo.epochs=0 must be at least 1"),
        ({"epochs": True}, "ppo.epochs must be int, got True"),
        ({"epochs": None}, "must not be empty"),
        ({"schedule": "liner"}, "must be one of constant, linear, cosine; did you mean linear"),
        ({"normalize_advantage": 1}, "must be bool"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(PPOConfig, values, "ppo")


def test_lists_and_options():
    config = from_dict(PolicyConfig, {"hidden": [32, 16]}, "policy")
    assert config.hidden == (32, 16)
    assert from_dict(PolicyConfig, to_dict(config)) == config
    with pytest.raises(ConfigError, match=r"policy.hidden\[1\]=0 must be"):
        from_dict(PolicyConfig, {"hidden": [32, 0]}, "policy")
    with pytest.raises(ConfigError, match="must be a list"):
        from_dict(PolicyConfig, {"hidden": 3}, "policy")
    assert from_dict(TrainConfig, {"stop_return": None}).stop_return is None
    assert from_dict(PPOConfig, {"gamma": 1}).gamma == 1.0


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [("1e6", int, 1_000_000), ("1_000", int, 1000), ("0.5", float, 0.5), ("yes", bool, True), ("off", bool, False),
     ("64, 32", tuple[int, ...], (64, 32)), ("none", float | None, None), ("3", float | None, 3.0), ("x", str, "x")],
)  # fmt: skip
def test_values_from_text(text, kind, value):
    assert parse_value(text, kind, "--x") == value


@pytest.mark.parametrize(("text", "kind"), [("1.5", int), ("x", int), ("x", float), ("maybe", bool), ("inf", int)])
def test_bad_text(text, kind):
    with pytest.raises(ConfigError, match="--x must be"):
        parse_value(text, kind, "--x")


def test_nest_and_merge():
    assert nest({"a.b": 1, "a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert merge({"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}) == {"a": {"b": 2, "c": 1}}
    with pytest.raises(ConfigError, match="is a setting, not a section"):
        nest({"a": 1, "a.b": 2})


def test_files(tmp_path):
    path = tmp_path / "x.toml"
    with pytest.raises(ConfigError, match="cannot read"):
        load_toml(path)
    path.write_text("a = [")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_toml(path)
    path.write_text("seed = 3")
    assert load_toml(path) == {"seed": 3}


@pytest.mark.parametrize(
    ("given_", "error", "message"),
    [
        ({}, ConfigError, "env is missing"),
        ({"env": 3}, ConfigError, "env must be str"),
        ({"env": "cartpole", "pp": {}}, ConfigError, "unknown setting pp; did you mean ppo"),
        ({"env": "cartpole", "ppo": 3}, ConfigError, "ppo is a section"),
        ({"env": "cartpole", "seed": -1}, ConfigError, "seed=-1"),
        ({"env": "cartpole", "algorithm": "pppo"}, UnknownName, "unknown algorithm 'pppo'; did you mean ppo"),
    ],
)
def test_resolve_refuses(given_, error, message):
    with pytest.raises(error, match=message):
        resolve(given_)


def test_resolve_ranks_layers_above_the_preset():
    resolved, env, _ = resolve({"env": "cartpole", "ppo": {"epochs": 2}}, {"ppo": {"epochs": 3}})
    assert resolved.options.epochs == 3
    assert resolved.options.learning_rate == env.preset["ppo"]["learning_rate"]
    again, _, _ = resolve(resolved.to_dict())
    assert again == resolved


def test_seeds_and_extras():
    assert check_seed(2**64 - 1) == 2**64 - 1
    with pytest.raises(ConfigError, match="must be a whole number"):
        check_seed(2**64)
    assert require("json", "x").__name__ == "json"
    with pytest.raises(MissingExtra, match=r"pip install 'pufferlib-core\[torch\]>=0.1,<0.2'"):
        require("surely_not_installed", "torch")
