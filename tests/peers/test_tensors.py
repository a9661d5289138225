"""Parts of packed rows as tensors of torch and JAX: the numbers of the numpy views, and torch's in the same memory."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch
from pufferlib_core.data import aligned_zeros
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

DTYPES = ["float32", "float64", "int8", "uint8", "int16", "int32", "int64"]
SPACE = Dict(
    {
        "boxes": Dict({dtype: Box(0, 100, (2, 3), dtype) for dtype in DTYPES}),
        "choices": Tuple([Discrete(5), MultiDiscrete([3, 4]), MultiBinary(6)]),
    }
)


def views():
    tree = SpaceTree(SPACE)
    rng = np.random.default_rng(0)
    rows = tree.empty(16)
    tree.write(rows, None, [SPACE.sample(rng) for _ in range(16)])
    return rows, tree.unpack(rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("convert", [torch.from_numpy, torch.from_dlpack])
def test_torch_sees_a_part_where_it_lies(dtype, convert):
    rows, parts = views()
    view = parts["boxes"][dtype]
    assert not view.flags.c_contiguous
    tensor = convert(view)
    assert tensor.data_ptr() == view.ctypes.data
    assert tensor.numpy().tobytes() == view.tobytes()
    view[3, 1, 2] = 7
    assert tensor[3, 1, 2] == 7
    tensor[4, 0, 1] = 9
    assert rows["boxes"][dtype][4, 0, 1] == 9


def test_trees_of_tensors_have_the_form_of_the_space():
    _, parts = views()
    tensors = torch.utils._pytree.tree_map(torch.from_dlpack, parts)
    arrays = jax.tree.map(jax.numpy.asarray, parts)
    assert isinstance(tensors["choices"], tuple)
    for name, found in (("torch", tensors), ("jax", arrays)):
        for k in range(3):
            part = parts["choices"][k]
            assert np.asarray(found["choices"][k]).tobytes() == part.tobytes(), name
            assert np.asarray(found["choices"][k]).dtype == part.dtype, name


@pytest.mark.parametrize(
    "dtype", [dtype for dtype in DTYPES if not dtype.endswith("64")]
)  # JAX has 32 bits unless told otherwise
def test_jax_copies_a_part_with_equal_bits(dtype):
    _, parts = views()
    view = parts["boxes"][dtype]
    array = jax.numpy.asarray(view)
    assert np.asarray(array).dtype == view.dtype
    assert np.asarray(array).tobytes() == view.tobytes()
    with pytest.raises(Exception, match=r"(?i)stride|layout|contiguous|compact"):  # the reason for the copy
        jax.dlpack.from_dlpack(view, copy=False)


def test_features_are_shared_with_both():
    tree = SpaceTree(SPACE)
    features = tree.features(views()[0], out=aligned_zeros((16, tree.width), np.float32))  # JAX shares what is aligned
    assert torch.from_dlpack(features).data_ptr() == features.ctypes.data
    shared = jax.dlpack.from_dlpack(features, copy=False)
    assert shared.unsafe_buffer_pointer() == features.ctypes.data
    assert np.asarray(shared).tobytes() == features.tobytes()
