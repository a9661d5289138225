"""Spaces: membership, sampling, JSON, messages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pufferlib_core.emulation import ActionTree
from pufferlib_core.errors import CheckpointError, SpaceError
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import (
    Box,
    Dict,
    Discrete,
    Mixed,
    MultiBinary,
    MultiDiscrete,
    Tuple,
    fingerprint,
    from_gymnasium,
    from_json,
    sample_allowed,
    to_gymnasium,
)

MIXED = Mixed(MultiDiscrete([2, 3]), Box(-1, 1, (1,)))
finite = st.floats(-1e3, 1e3, width=32)


@st.composite
def boxes(draw):
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    low = draw(st.one_of(finite, st.just(-np.inf)))
    high = draw(st.one_of(st.floats(0, 1e3, width=32).map(lambda d: max(low, -1e3) + d), st.just(np.inf)))
    return Box(low, high, shape, draw(st.sampled_from(["float32", "float64"])))


spaces = st.one_of(
    boxes(),
    st.builds(lambda n: Box(0, n, (3,), "uint8"), st.integers(0, 255)),
    st.builds(Discrete, st.integers(1, 99)),
    st.builds(MultiDiscrete, st.lists(st.integers(1, 9), min_size=1, max_size=5)),
    st.builds(MultiBinary, st.integers(1, 9)),
    st.builds(
        lambda nvec, high: Mixed(MultiDiscrete(nvec), Box(0, high)),
        st.lists(st.integers(1, 9), min_size=1, max_size=3),
        st.lists(st.integers(0, 9), min_size=1, max_size=3),
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(spaces, st.integers(0, 2**32))
def test_samples_belong_and_json_round_trips(space, seed):
    sample = space.sample(np.random.default_rng(seed))
    assert sample.shape == space.shape
    assert sample.dtype == space.dtype
    if not (isinstance(space, Box) and space.dtype == "float32"):  # rounding to float32 may cross a bound by an ulp
        space.validate(sample)
    again = from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert hash(again) == hash(space)
    assert fingerprint(again) == fingerprint(space)


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (Box(-1, 1, (2,)), np.zeros(3), r"obs must have shape \(2,\), got \(3,\)"),
        (Box(-1, 1, (2,)), np.array([0, 2.0]), r"obs\[1\] is 2.0, outside \[-1.0, 1.0\]"),
        (Box(-1, 1, (2,)), np.array([0, np.nan]), r"obs\[1\] is nan"),
        (Box(0, 255, (1,), "uint8"), np.array([0.5]), "obs must be uint8, got float64"),
        (Discrete(3), 3, r"obs is 3, outside \[0, 3\)"),
        (Discrete(3), 0.5, "whole numbers"),
        (MultiDiscrete([2, 3]), [1, 3], r"obs\[1\] is 3"),
        (MultiBinary(2), [0, 2], r"obs\[1\] is 2"),
        (Box(-1, 1, (1,)), ["a"], "must be numbers"),
        (MIXED, MIXED.record([1, 3], [0]), r"obs\['choices'\]\[1\] is 3, outside \[0, 3\)"),
        (MIXED, {"choices": [1, 2], "numbers": [1.5]}, r"obs\['numbers'\]\[0\] is 1.5"),
        (MIXED, np.zeros(2), "obs must be a mapping"),
    ],
)
def test_validate_names_the_place(space, value, message):
    with pytest.raises(SpaceError, match=message):
        space.validate(value, "obs")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box(1, -1, (2,)), "low must be"),
        (lambda: Box(np.nan, 1, (2,)), "low must be"),
        (lambda: Box(0, 1, (0,)), "empty axis"),
        (lambda: Box([0, 1], 1, (3,)), "do not broadcast"),
        (lambda: Box(0, 1, (1,), "complex64"), "not a number"),
        (lambda: Discrete(0), r"in \[1, 2\^31\)"),
        (lambda: Discrete(2**31), r"in \[1, 2\^31\)"),
        (lambda: Discrete(True), "whole number"),
        (lambda: MultiDiscrete([]), "empty"),
        (lambda: MultiDiscrete([2, 0]), r"nvec\[1\]=0"),
        (lambda: MultiBinary(-1), r"in \[1, 2\^20\)"),
        (lambda: Mixed(Discrete(2), Box(0, 1, (1,))), "choices must be a MultiDiscrete, got Discrete"),
        (lambda: Mixed(MultiDiscrete([2]), Box(0, 1, (1,), "float64")), "numbers must be a Box of float32"),
        (lambda: Mixed(MultiDiscrete([2]), Box(0, 1, (2, 1))), r"of shape \(A,\)"),
        (lambda: from_json({"type": "Mixed", "choices": Discrete(2).to_json(), "numbers": {}}), "not the description"),
        (lambda: from_json({"type": "Set"}), "unknown type 'Set'"),
        (lambda: from_json({"type": "Dict"}), "not the description"),
        (lambda: from_json({"type": "Box"}), "not the description"),
    ],
)
def test_illegal_spaces(make, message):
    with pytest.raises(SpaceError, match=message):
        make()


def test_sizes():
    assert (Box(0, 1, (2, 3)).size, Discrete(4).size, MultiDiscrete([2, 2]).size, MultiBinary(5).size) == (6, 1, 2, 5)
    assert (Discrete(4).nvec, MultiBinary(2).nvec) == ((4,), (2, 2))
    MultiDiscrete([2, 3]).validate([1, 2])
    Discrete(3).validate(np.int32(2))
    Box(-1, 1, (1,)).validate(np.zeros(1, np.float32))


def test_policy_descriptions_round_trip():
    spec = PolicySpec(obs_space=Box(-1, 1, (4,)), action_space=MultiDiscrete([2, 3]), config=PolicyConfig(hidden=(8,)))
    assert PolicySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert [t.name for t in spec.tensors()][:2] == ["trunk.0.weight", "trunk.0.bias"]
    assert spec.params == 8 * 4 + 8 + 5 * 8 + 5 + 8 + 1
    for broken in ({}, {"obs_space": {}, "action_space": {}}, spec.to_json() | {"config": {"hiden": [3]}}):
        with pytest.raises(CheckpointError, match="not the description of a policy"):
            PolicySpec.from_json(broken)
    with pytest.raises(CheckpointError, match="actions are choices, a Box or Mixed"):
        PolicySpec.from_json(spec.to_json() | {"action_space": Tuple([Discrete(2)]).to_json()})
    mixed = PolicySpec(obs_space=Box(-1, 1, (4,)), action_space=MIXED, config=PolicyConfig(hidden=(8,)))
    assert PolicySpec.from_json(json.loads(json.dumps(mixed.to_json()))) == mixed
    assert (mixed.logits, mixed.nvec, mixed.numbers) == (6, (2, 3), 1)
    assert [(t.name, t.shape) for t in mixed.tensors()][2:] == [
        ("policy.weight", (6, 8)), ("policy.bias", (6,)), ("value.weight", (1, 8)), ("value.bias", (1,)), ("log_std", (1,)),
    ]  # fmt: skip
    nested = PolicySpec(obs_space=Tuple([Discrete(3), Box(0, 1, (2,))]), action_space=Discrete(2), config=PolicyConfig())
    assert PolicySpec.from_json(json.loads(json.dumps(nested.to_json()))) == nested
    assert nested.tensors()[0].shape == (64, 5)


def test_records_of_mixed_actions_are_words_without_gaps():
    assert MIXED.dtype.itemsize == 4 * MIXED.size == 12
    assert MIXED.record([1, 2], [0.5]).tobytes() == np.array([1, 2], "<i4").tobytes() + np.array([0.5], "<f4").tobytes()
    assert Dict({"choices": MIXED.choices, "numbers": MIXED.numbers}) != MIXED
    assert fingerprint(MIXED) != fingerprint(Dict({"choices": MIXED.choices, "numbers": MIXED.numbers}))
    rng, mask = np.random.default_rng(0), np.array([0, 1, 1, 0, 1], np.uint8)
    drawn = np.stack([sample_allowed(MIXED, rng, mask) for _ in range(50)])
    assert {tuple(chosen) for chosen in drawn["choices"].tolist()} == {(1, 0), (1, 2)}
    assert len(np.unique(drawn["numbers"])) == 50


def test_mixed_actions_go_to_gymnasium_as_a_dict_and_come_back_as_heads():
    theirs = to_gymnasium(MIXED)
    theirs.seed(0)
    for _ in range(20):
        MIXED.validate(theirs.sample())
    assert ActionTree(from_gymnasium(theirs)).space == MIXED


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (2, 3)),
        Box([-np.inf, -4.8], [np.inf, 4.8]),
        Box([-0.1], [1 / 3], dtype="float64"),
        Box(0, 255, (4, 4), "uint8"),
        Discrete(5),
        Discrete(5, start=-2),
        MultiDiscrete([2, 7]),
        MultiBinary(3),
        Dict({"b": Tuple([Discrete(3), MultiBinary(2)]), "a": Box(0, 1, ())}),
    ],
)
def test_spaces_go_to_gymnasium_and_back(space):
    theirs = to_gymnasium(space)
    back = from_gymnasium(theirs)
    assert type(back) is type(space)
    if isinstance(space, Box):
        assert (back.shape, back.dtype) == (space.shape, space.dtype)
        np.testing.assert_array_equal(back.low, np.asarray(space.low, space.dtype))
        np.testing.assert_array_equal(back.high, np.asarray(space.high, space.dtype))
    else:
        assert back == space
    theirs.seed(0)
    for _ in range(20):
        space.validate(theirs.sample())


def test_whole_numbers_without_bounds_end_at_their_dtype():
    theirs = to_gymnasium(Box(-np.inf, np.inf, (1,), "int32"))
    assert (theirs.low[0], theirs.high[0]) == (-(2**31), 2**31 - 1)
