"""Nested spaces: layout, packing, views, features, actions; against numpy and against the rules."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pufferlib_core.emulation import ActionTree, SpaceTree
from pufferlib_core.errors import NativeError, ShapeError, SpaceError
from pufferlib_core.native import check, ffi, lib
from pufferlib_core.spaces import Box, Dict, Discrete, Mixed, MultiBinary, MultiDiscrete, Tuple, fingerprint, from_json, leaves

DTYPES = ["float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"]
shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
flat = st.one_of(
    st.builds(lambda shape, dtype: Box(0, 100, shape, dtype), shapes, st.sampled_from(DTYPES)),
    st.builds(lambda shape: Box(0, 1, shape, "bool"), shapes),
    st.builds(Discrete, st.integers(1, 40), st.integers(-9, 9)),
    st.builds(MultiDiscrete, st.lists(st.integers(1, 9), min_size=1, max_size=4)),
    st.builds(MultiBinary, st.integers(1, 9)),
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1, max_size=5)
nested = st.recursive(
    flat,
    lambda inner: st.one_of(
        st.builds(Dict, st.dictionaries(names, inner, min_size=1, max_size=4)),
        st.builds(Tuple, st.lists(inner, min_size=1, max_size=4)),
    ),
    max_leaves=12,
)
many = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def batch(tree: SpaceTree, n: int, seed: int):
    """n samples, and the same as one array for each part, in the form of the space."""
    rng = np.random.default_rng(seed)
    samples = [tree.space.sample(rng) for _ in range(n)]
    rows = tree.empty(n)
    parts = tree.unpack(tree.empty(n))
    tree.write(rows, list(range(0, n, 2)), samples[::2])
    tree.write(rows, list(range(1, n, 2)), samples[1::2])
    for leaf in tree.leaves:
        array, at = parts, samples
        for key in leaf.path:
            array, at = array[key], [part[key] for part in at]
        array[...] = np.stack([np.asarray(part) for part in at]).astype(leaf.dtype)
    return samples, rows, copied(parts)


def copied(parts):
    if isinstance(parts, dict):
        return {key: copied(part) for key, part in parts.items()}
    return tuple(copied(part) for part in parts) if isinstance(parts, tuple) else np.ascontiguousarray(parts)


def followed(value, path):
    for key in path:
        value = value[key]
    return value


@many
@given(nested, st.integers(1, 99), st.integers(0, 2**32))
def test_packing_is_bit_exact_and_views_see_the_parts(space, n, seed):
    tree = SpaceTree(space)
    samples, written, parts = batch(tree, n, seed)
    rows = tree.pack(parts)
    assert rows.tobytes() == written.tobytes()
    assert rows.ctypes.data % 64 == 0
    views = tree.unpack(rows)
    for leaf in tree.leaves:
        view = followed(views, leaf.path)
        assert view.tobytes() == followed(parts, leaf.path).tobytes()
        assert np.shares_memory(view, rows)
        assert leaf.offset % leaf.dtype.alignment == 0
    out = [np.empty((n, *leaf.shape), leaf.dtype) for leaf in tree.leaves]
    fields = ffi.new("puf_field[]", [
        {"data": ffi.cast("void *", array.ctypes.data), "bytes": leaf.bytes, "offset": leaf.offset}
        for array, leaf in zip(out, tree.leaves, strict=True)
    ])  # fmt: skip
    source = ffi.cast("void *", rows.ctypes.data)
    check(lib.puf_unpack(fields, len(out), n, source, tree.row_bytes), "unpack")
    for array, leaf in zip(out, tree.leaves, strict=True):
        assert array.tobytes() == followed(parts, leaf.path).tobytes()
    for sample in samples:
        space.validate(sample)


@pytest.mark.parametrize(
    ("part", "values", "expected"),
    [
        (Discrete(5), [np.int64(3), np.int64(1)], [3, 1]),
        (Discrete(5), [3, np.int64(1)], [3, 1]),
        (Discrete(5), [np.int64(3), np.int32(1)], [3, 1]),
        (Discrete(5), [np.array(3), np.array(1)], [3, 1]),
        (Box(0, 9, (), "float32"), [np.float64(0.5), np.float64(2)], [0.5, 2]),
        (Box(0, 9, (2,), "float32"), [np.ones(2), np.arange(2.0)], [[1, 1], [0, 1]]),
        (Box(0, 9, (2,), "float32"), [np.ones(2, np.float32), np.arange(2)], [[1, 1], [0, 1]]),
        (Box(0, 9, (2,), "float32"), [np.ones(2, ">f4"), np.arange(2).astype(">f4")], [[1, 1], [0, 1]]),
        (Box(0, 9, (2,), "float32"), [np.ones(4)[::2], np.arange(4.0)[::2]], [[1, 1], [0, 2]]),
        (Box(0, 9, (2,), "float32"), [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (Box(0, 9, (2, 2), "int16"), [np.arange(4).reshape(2, 2).T, np.zeros((2, 2))], [[[0, 2], [1, 3]], [[0, 0], [0, 0]]]),
        (Box(0, 9, (2000,), "uint8"), [np.ones(2000, np.uint8), np.full(2000, 2.0)], [[1] * 2000, [2] * 2000]),
    ],
)
def test_python_observations_are_cast_into_rows(part, values, expected):
    tree = SpaceTree(Dict({"x": Tuple([part]), "y": Discrete(2)}))
    rows = tree.empty(4)
    tree.write(rows, [3, 1], [{"x": (value,), "y": 1} for value in values])
    assert rows["x"]["f0"][[3, 1]].tolist() == expected
    assert rows["y"].tolist() == [0, 1, 0, 1]
    assert not rows["x"]["f0"][[0, 2]].any()


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (Box(0, 9, (2, 3), "float32"), [np.ones((3, 2), np.float32)] * 2),  # as many bytes, but not the shape
        (Box(0, 9, (4,), "float32"), [np.ones(3, np.float32), np.ones(4, np.float32)]),
        (Discrete(3), [np.array([1, 0]), np.array([1, 0])]),
    ],
)
def test_python_observations_of_another_shape_are_refused(part, values):
    tree = SpaceTree(Dict({"x": part}))
    with pytest.raises(ValueError, match=r"broadcast|inhomogeneous|sequence"):
        tree.write(tree.empty(2), None, [{"x": value} for value in values])


@many
@given(nested, st.integers(1, 40), st.integers(0, 2**32))
def test_features_are_numbers_and_one_hot_choices(space, n, seed):
    tree = SpaceTree(space)
    samples, rows, _ = batch(tree, n, seed)
    found = tree.features(rows)
    assert found.dtype == tree.feature_dtype
    for i, sample in enumerate(samples):
        expected: list[float] = []
        for path, part in leaves(space):
            values = np.asarray(followed(sample, path)).ravel()
            if isinstance(part, Box):
                expected += values.astype(np.float32).tolist()
                continue
            start = part.start if isinstance(part, Discrete) else 0
            for value, choices in zip(values, part.nvec, strict=True):
                expected += [float(value - start == k) for k in range(choices)]
        assert found[i].tolist() == expected
    tree.validate(rows, "obs")


@many
@given(nested)
def test_json_and_fingerprints(space):
    again = from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert hash(again) == hash(space)
    assert fingerprint(again) == fingerprint(space)
    assert SpaceTree(again).dtype == SpaceTree(space).dtype


def test_the_layout_is_that_of_a_c_struct(tmp_path):
    """A compiler is the judge."""
    space = Dict({"a": Box(0, 1, (8,)), "b": Discrete(5), "c": Tuple([Box(0, 1, (3,), "uint8"), Box(0, 1, (2,), "float64")])})
    source = tmp_path / "layout.c"
    source.write_text("""
        #include <stdint.h>
        #include <stddef.h>
        #include <stdio.h>
        struct c { uint8_t f0[3]; double f1[2]; };
        struct row { float a[8]; int32_t b; struct c c; };
        int main(void) { printf("%zu %zu %zu %zu %zu", offsetof(struct row, a), offsetof(struct row, b),
            offsetof(struct row, c), offsetof(struct row, c) + offsetof(struct c, f1), sizeof(struct row)); }
    """)
    subprocess.run(["cc", source, "-o", tmp_path / "layout"], check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    tree = SpaceTree(space)
    assert [*(leaf.offset for leaf in tree.leaves), tree.row_bytes] == list(map(int, printed.split()))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_float32_numbers_and_bytes_are_read_where_they_lie(dtype):
    tree = SpaceTree(Box(0, 1, (2, 3), dtype))
    rows = tree.empty(4)
    assert tree.direct
    assert np.shares_memory(tree.features(rows), rows)
    assert tree.features(rows).shape == (4, 6)
    assert (tree.features(rows).dtype, tree.feature_dtype) == (dtype, dtype)
    other = SpaceTree(Box(0, 255, (2,), "int16"))
    assert (other.direct, other.feature_dtype) == (False, np.float32)


def test_a_choice_outside_its_space_is_named():
    tree = SpaceTree(Dict({"unit": Tuple([Discrete(3), MultiDiscrete([2, 4])])}))
    rows = tree.empty(5)
    rows["unit"]["f1"][2, 1] = 4
    with pytest.raises(SpaceError, match=r"obs\[2\]\['unit'\]\[1\] holds 4 \(number 1\), outside \[0, 3\]"):
        tree.features(rows)
    with pytest.raises(SpaceError, match=r"obs\[0\] holds nan"):
        SpaceTree(Box(-1, 1, (1,))).validate(np.array([[np.nan]], np.float32), "obs")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": np.zeros((2, 3), np.float32)}, "has no part 'y'"),
        ({"x": np.zeros((2, 4), np.float32), "y": np.zeros(2, np.int32)}, r"value\['x'\] must be float32 \(2, 3\), got"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(2, np.int32)}, r"value\['x'\] must be float32"),
        ({"x": np.zeros((2, 3), np.float32), "y": [0, 1]}, r"value\['y'\] must be int32 \(2,\), got list"),
        ({"x": np.zeros((3, 2), np.float32).T, "y": np.zeros(2, np.int32)}, r"value\['x'\] must be contiguous"),
    ],
)
def test_wrong_parts_are_named(values, message):
    with pytest.raises(ShapeError, match=message):
        SpaceTree(Dict({"x": Box(0, 1, (3,)), "y": Discrete(2)})).pack(values)


def test_the_core_refuses_what_does_not_fit():
    memory = ffi.new("unsigned char[64]")
    field = ffi.new("puf_field[]", [{"data": memory, "bytes": 8, "offset": 4}])
    assert lib.puf_pack(field, 1, 1, memory, 11) == lib.PUF_EINVAL
    for leaf in (
        {"offset": 0, "count": 3, "number": lib.PUF_F32},
        {"offset": 2, "count": 1, "number": lib.PUF_F32},
        {"offset": 0, "count": 1, "number": 99},
        {"offset": 0, "count": 1, "number": lib.PUF_F32, "choices": 3},
    ):
        assert lib.puf_features(ffi.new("puf_leaf[]", [leaf]), 1, memory, 1, 8, ffi.new("float[9]"), 3) == lib.PUF_EINVAL
    with pytest.raises(NativeError):
        check(lib.puf_unpack(field, 1, -1, memory, 64), "unpack")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dict({}), "no parts"),
        (lambda: Dict({1: Discrete(2)}), "names must be texts"),
        (lambda: Tuple([]), "no parts"),
        (lambda: Tuple([3]), "3 is not a space"),
        (lambda: Discrete(3, start=1.5), "start=1.5"),
        (lambda: SpaceTree(Box(0, 1, (1,), "float16")), "cannot hold numbers of dtype float16"),
        (lambda: SpaceTree(Discrete(1 << 20)).features(np.zeros(1, np.int32)), "too many choices"),
        (lambda: ActionTree(Box(0, 9, (1,), "int32")), "whole numbers"),
        (lambda: ActionTree(Tuple([Discrete(2), Box(0, 9, (1,), "uint8")])), "whole numbers"),
    ],
)
def test_illegal_spaces_are_refused(make, message):
    with pytest.raises(SpaceError, match=message):
        make()


def test_nesting_has_an_end():
    space = Discrete(2)
    for _ in range(31):
        space = Tuple([space])
    with pytest.raises(SpaceError, match="32 deep"):
        Tuple([space])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"units": [0]}, r"obs\['units'\] must be a tuple of 2 parts, got 1 parts"),
        ({"units": (1, {"hp": 11.0})}, r"obs\['units'\]\[1\]\['hp'\] is 11.0, outside \[0.0, 10.0\]"),
        ({"units": (4, {"hp": 1.0})}, r"obs\['units'\]\[0\] is 4, outside \[1, 4\)"),
        ({"units": (1, {})}, r"obs\['units'\]\[1\]\['hp'\] is missing"),
        ({"units": (1, {"hp": 1.0}), "more": 1}, r"obs\['more'\] does not belong"),
        (3, "obs must be a mapping, got int"),
    ],
)
def test_messages_name_the_place(value, message):
    space = Dict({"units": Tuple([Discrete(3, start=1), Dict({"hp": Box(0, 10, ())})])})
    with pytest.raises(SpaceError, match=message):
        space.validate(value, "obs")


def test_actions_become_heads_and_come_back():
    choices = ActionTree(Dict({"b": Tuple([Discrete(3, start=5), MultiBinary(2)]), "a": MultiDiscrete([4, 2])}))
    assert choices.space == MultiDiscrete([4, 2, 3, 2, 2])
    back = choices.decode(np.array([3, 1, 2, 0, 1], np.int32))
    assert back["a"].tolist() == [3, 1]
    assert back["b"][0] == 7
    assert back["b"][1].tolist() == [0, 1]
    choices.nested.validate({"a": back["a"], "b": (back["b"][0], back["b"][1].astype(np.int32))})
    numbers = ActionTree(Dict({"x": Box(-1, 1, (2, 1)), "y": Box(0, 5, (), "float64")}))
    assert numbers.space == Box([-1, -1, 0], [1, 1, 5])
    back = numbers.decode(np.array([-1, 0.5, 2], np.float32))
    assert back["x"].tolist() == [[-1], [0.5]]
    assert back["y"] == 2.0
    assert back["y"].dtype == np.float64
    planes = numbers.decode_batch(np.array([[-1, 0.5, 2], [0, 1, 3]], np.float32))
    assert planes["x"].tolist() == [[[-1], [0.5]], [[0], [1]]]
    assert planes["y"].tolist() == [2, 3]
    assert ActionTree(Discrete(3, start=1)).space == Discrete(3)
    assert ActionTree(Discrete(3, start=1)).decode(np.int32(2)) == 3


def test_mixtures_keep_the_order_of_their_choices_and_of_their_numbers():
    tree = ActionTree(Dict({
        "b": Tuple([Box(-1, 1, (2, 1)), Discrete(3, start=5)]), "a": MultiDiscrete([4, 2]), "c": Box(0, 5, (), "float64"),
    }))  # fmt: skip
    assert tree.space == Mixed(MultiDiscrete([4, 2, 3]), Box([-1, -1, 0], [1, 1, 5]))
    [back] = tree.decode_all(np.array([((3, 1, 2), (-0.7, 0.5, 2))], tree.space.dtype))
    assert back["a"].tolist() == [3, 1]
    assert back["b"][0].tolist() == [[np.float32(-0.7)], [0.5]]
    assert back["b"][1] == 7
    assert (back["c"], back["c"].dtype) == (2.0, np.float64)


floats = st.builds(lambda shape, dtype: Box(-3, 100, shape, dtype), shapes, st.sampled_from(["float32", "float64"]))
actions = st.recursive(
    st.one_of(
        floats,
        st.builds(Discrete, st.integers(1, 40), st.integers(-9, 9)),
        st.builds(MultiDiscrete, st.lists(st.integers(1, 9), min_size=1, max_size=4)),
        st.builds(MultiBinary, st.integers(1, 9)),
    ),
    lambda inner: st.one_of(
        st.builds(Dict, st.dictionaries(names, inner, min_size=1, max_size=4)),
        st.builds(Tuple, st.lists(inner, min_size=1, max_size=4)),
    ),
    max_leaves=10,
)


@many
@given(actions, st.integers(0, 2**32))
def test_decoded_actions_are_those_that_went_in(space, seed):
    """Samples of the nested space, laid out by hand as a row of the plane, come back as they were."""
    tree, rng = ActionTree(space), np.random.default_rng(seed)
    samples = [space.sample(rng) for _ in range(3)]
    rows = []
    for sample in samples:
        choices, numbers = [], []
        for path, part in leaves(space):
            values = np.asarray(followed(sample, path)).ravel()
            if isinstance(part, Box):
                numbers += values.astype(np.float32).tolist()
            else:
                choices += (values - (part.start if isinstance(part, Discrete) else 0)).tolist()
        rows.append(tree.space.record(choices, numbers) if choices and numbers else np.array(choices or numbers))
    plane = np.stack(rows).reshape(3, *tree.space.shape).astype(tree.space.dtype)
    for sample, back in zip(samples, tree.decode_all(plane), strict=True):
        for path, part in leaves(space):
            expected, found = (np.asarray(followed(value, path)) for value in (sample, back))
            assert found.shape == part.shape
            if isinstance(part, Box):
                assert found.dtype == part.dtype
                expected, found = expected.astype(np.float32), found.astype(np.float32)
            assert found.tolist() == expected.tolist()
