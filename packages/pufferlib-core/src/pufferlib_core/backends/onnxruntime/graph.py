"""Policies as ONNX graphs, built operator by operator from a `PolicySpec` and its named tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pufferlib_core.backends.onnxruntime.contract import KEY, bounds, contract, inputs, leaf_name, outputs
from pufferlib_core.emulation import Leaf
from pufferlib_core.encoders import Encoder
from pufferlib_core.native import Array
from pufferlib_core.ops.distributions import MASKED
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec
from pufferlib_core.spaces import Discrete

OPSET = 17  # of onnxruntime 1.12 (2022) and everything later
IR_VERSION = 8  # of the file, likewise


class Graph:
    """Nodes and constants on their way to a model."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, array: Any, name: str = "") -> str:
        """A tensor of the graph; one of a given name is put there once."""
        name = name or f"constant/{len(self.constants)}"
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def op(self, kind: str, *read: str, out: str = "", **attributes: Any) -> str:
        """One operator with one output, called `out` or numbered."""
        name = out or f"{kind}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(read), [name], **attributes))
        return name

    def split(self, read: str, sizes: list[int]) -> list[str]:
        """Parts of the second axis."""
        if len(sizes) == 1:
            return [read]
        names = [f"Split/{len(self.nodes)}/{k}" for k in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [read, self.constant(np.array(sizes, np.int64))], names, axis=1))
        return names

    def join(self, read: list[str], out: str = "") -> str:
        """Parts beside each other."""
        if len(read) == 1 and not out:
            return read[0]
        return self.op("Concat", *read, out=out, axis=1)

    def shaped(self, read: str, shape: tuple[int, ...], out: str = "") -> str:
        """The same numbers as (batch, *shape)."""
        return self.op("Reshape", read, self.constant(np.array((-1, *shape), np.int64)), out=out)


class Network:
    """The network of a policy in a graph.

    Args:
        spec: the policy.
        tensors: its parameters and, if it normalises, the statistics of observations.
        graph: that it is built in.
    """

    def __init__(self, spec: PolicySpec, tensors: Mapping[str, Array], graph: Graph) -> None:
        self.spec, self.graph = spec, graph
        self._tensors = tensors
        self._act = {"tanh": "Tanh", "relu": "Relu"}[spec.config.activation]

    def _tensor(self, name: str) -> str:
        return self.graph.constant(self._tensors[name], f"parameter/{name}")

    def features(self) -> list[str]:
        """What the network reads of each part of an observation, preprocessed, (batch, width) each."""
        spec, found, first = self.spec, [], 0
        moments = Moments.of(self._tensors, "obs_norm/") if spec.config.normalize_obs else None
        read = spec.preprocessing(moments)
        for leaf in spec.tree.leaves:
            x = self._numbers(leaf)
            if read is not None:
                part = slice(first, first + leaf.width)
                x = self._preprocessed(x, read[0][part], read[1][part], read[2])
            found.append(x)
            first += leaf.width
        return found

    def _numbers(self, leaf: Leaf) -> str:
        """A part of an observation as float32, choices as 0 and 1."""
        g = self.graph
        x, count = leaf_name(leaf), leaf.bytes // leaf.dtype.itemsize
        if leaf.shape != (count,):
            x = g.shaped(x, (count,))
        if not leaf.choices:
            return x if leaf.dtype == np.float32 else g.op("Cast", x, to=TensorProto.FLOAT)
        start = leaf.space.start if isinstance(leaf.space, Discrete) else 0
        component = np.repeat(np.arange(len(leaf.choices)), leaf.choices)
        option = np.concatenate([np.arange(n) for n in leaf.choices]) + start
        codes = g.op("Cast", x, to=TensorProto.INT32)
        wide = codes if len(leaf.choices) == 1 else g.op("Gather", codes, g.constant(component), axis=1)
        return g.op("Cast", g.op("Equal", wide, g.constant(option.astype(np.int32))), to=TensorProto.FLOAT)

    def _preprocessed(self, x: str, mean: Array, scale: Array, bound: float) -> str:
        g = self.graph
        mean, scale = (array[:1] if (array == array[0]).all() else array for array in (mean, scale))
        if mean.any():
            x = g.op("Sub", x, g.constant(mean))
        if (scale != 1).any():
            x = g.op("Mul", x, g.constant(scale))
        if math.isfinite(bound):
            x = g.op("Clip", x, g.constant(np.float32(-bound)), g.constant(np.float32(bound)))
        return x

    def tower(self, part: str, features: list[str], carry: str) -> tuple[str, str]:
        """A trunk, an actor or a critic: what its head reads, and what it hands on."""
        spec, g = self.spec, self.graph
        if spec.encoders:
            pairs = enumerate(zip(spec.encoders, features, strict=True))
            features = [self._encoded(f"{part}.encoder.{e}", encoder, x) for e, (encoder, x) in pairs]
        x = g.join(features)
        for k in range(len(spec.config.hidden)):
            x = g.op(self._act, self._dense(f"{part}.{k}", x))
        if spec.config.core == "lstm":
            return self._lstm(f"{part}.core", x, carry)
        if spec.config.core == "gru":
            x = self._gru(f"{part}.core", x, carry)
        return x, x

    def _dense(self, name: str, x: str) -> str:
        return self.graph.op("Gemm", x, self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"), transB=1)

    def _encoded(self, name: str, encoder: Encoder, x: str) -> str:
        g = self.graph
        if encoder.image is None:
            for k in range(len(encoder.layers)):
                x = g.op(self._act, self._dense(f"{name}.{k}", x))
            return x
        x = g.op("Transpose", g.shaped(x, encoder.image), perm=[0, 3, 1, 2])  # ONNX convolves (N, C, H, W)
        for k, conv in enumerate(encoder.convs):
            weight, bias = (self._tensor(f"{name}.{k}.{kind}") for kind in ("weight", "bias"))
            x = g.op(self._act, g.op("Conv", x, weight, bias, strides=[conv.stride] * 2, kernel_shape=[conv.kernel] * 2))
        return g.shaped(g.op("Transpose", x, perm=[0, 2, 3, 1]), (encoder.width,))  # read on as (H, W, C)

    def _lstm(self, name: str, x: str, carry: str) -> tuple[str, str]:
        g, size = self.graph, self.spec.config.core_size
        h, c = g.split(carry, [size] * 2)
        given = g.op("Gemm", x, self._tensor(f"{name}.input"), self._tensor(f"{name}.bias"), transB=1)
        i, f, n, o = g.split(g.op("Gemm", h, self._tensor(f"{name}.state"), given, transB=1), [size] * 4)
        kept, new = g.op("Mul", g.op("Sigmoid", f), c), g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", n))
        c = g.op("Add", kept, new)
        h = g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", c))
        return h, g.join([h, c])

    def _gru(self, name: str, x: str, h: str) -> str:
        g, size = self.graph, self.spec.config.core_size
        given = g.split(g.op("Gemm", x, self._tensor(f"{name}.input"), self._tensor(f"{name}.bias"), transB=1), [size] * 3)
        kept = g.split(g.op("Gemm", h, self._tensor(f"{name}.state"), transB=1), [size] * 3)
        r, z = (g.op("Sigmoid", g.op("Add", given[k], kept[k])) for k in range(2))
        n = g.op("Tanh", g.op("Add", given[2], g.op("Mul", r, kept[2])))
        rest = g.op("Sub", g.constant(np.float32(1)), z)
        return g.op("Add", g.op("Mul", rest, n), g.op("Mul", z, h))

    def build(self, masked: bool) -> None:
        """All of it, from the inputs to the outputs of the contract."""
        spec, g = self.spec, self.graph
        parts = ("actor", "critic") if spec.config.separate else ("trunk",)
        features = self.features()
        carries = g.split("carry", [spec.carry // len(parts)] * len(parts)) if spec.carry else [""] * len(parts)
        towers = [self.tower(part, features, carry) for part, carry in zip(parts, carries, strict=True)]
        self._actions(self._dense("policy", towers[0][0]), masked)
        g.shaped(self._dense("value", towers[-1][0]), (), out="value")
        if spec.carry:
            g.join([after for _, after in towers], out="next_carry")

    def _actions(self, heads: str, masked: bool) -> None:
        spec, g = self.spec, self.graph
        wide = sum(spec.nvec)
        both = bool(wide and spec.numbers)
        logits, mean = g.split(heads, [wide, spec.numbers]) if both else (heads, heads)
        if wide:
            if masked:
                allowed = g.op("Cast", "action_mask", to=TensorProto.BOOL)
                logits = g.op("Where", allowed, logits, g.constant(np.float32(MASKED)))
            g.op("Identity", logits, out="logits")
            best = [g.op("ArgMax", part, axis=1, keepdims=1) for part in g.split("logits", list(spec.nvec))]
            chosen = g.op("Cast", g.join(best), to=TensorProto.INT32)
            g.shaped(chosen, (len(spec.nvec),) if both else spec.action_space.shape, out="action/choices" if both else "action")
        if spec.numbers:
            g.op("Identity", mean, out="mean")
            g.op("Identity", self._tensor("log_std"), out="log_std")
            box, given = bounds(spec), "mean"
            assert box is not None
            low, high = (np.array(bound, np.float32) for bound in (box.low, box.high))
            if spec.squash_bounds is not None:
                low, high = spec.squash_bounds
                reach, middle = g.constant(high / 2 - low / 2), g.constant(low / 2 + high / 2)
                given = g.op("Add", middle, g.op("Mul", reach, g.op("Tanh", "mean")))
            kept = g.op("Min", g.op("Max", given, g.constant(low)), g.constant(high))
            g.shaped(kept, box.shape, out="action/numbers" if both else "action")


def build(spec: PolicySpec, tensors: Mapping[str, Array], *, masked: bool, about: Mapping[str, Any]) -> bytes:
    """The bytes of an ONNX file.

    Args:
        spec: the policy.
        tensors: of a checkpoint, by name.
        masked: whether it reads action masks.
        about: where it comes from, for the contract.

    Raises:
        SpaceError: if two parts of the observation would have the same name.
    """
    graph = Graph()
    Network(spec, tensors, graph).build(masked)
    ports = [
        [helper.make_tensor_value_info(p.name, helper.np_dtype_to_tensor_dtype(np.dtype(p.dtype)), p.shape) for p in listed]
        for listed in (inputs(spec, masked), outputs(spec, masked))
    ]
    made = helper.make_graph(graph.nodes, "policy", *ports, initializer=list(graph.constants.values()))
    model = helper.make_model(
        made, producer_name="pufferlib", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(model, {KEY: json.dumps(contract(spec, masked, about), sort_keys=True)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
