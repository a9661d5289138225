"""The part of a policy that acts on a device, as the core's `puf_lean` reads it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.backends.params import c_net, join_params
from pufferlib_core.backends.plain import PlainPolicy
from pufferlib_core.checkpoint import load_checkpoint, reading
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.native import Array, check, ffi, lib
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec, Tensor
from pufferlib_core.spaces import Box
from pufferlib_core.vector.base import finite_bounds

from pufferlib_embedded.integer import Program

LARGEST = float(np.finfo(np.float32).max)  # stands for infinity in bounds: a clip to it changes no finite number


class Model:
    """What acts: parameters, normaliser and bounds, and the core's own run of them. In float32; `Model8` is in integers.

    Args:
        checkpoint: checkpoint or run folder.

    Raises:
        CheckpointError: if it is damaged or foreign, lacks the statistics of its observations, or holds numbers that are not
            finite.
        ConfigError: if its network, observations or actions cannot be exported.
    """

    precision = "float32"
    roots: tuple[str, ...] = ("lean.c", "shape.c")  # files of the core; they link with each other and nothing else
    carry_dtype: np.dtype[Any] = np.dtype(np.float32)
    scratch_dtype: np.dtype[Any] = np.dtype(np.float32)
    carry_rows = 1  # of `carry` numbers: what is handed on, and in integers room for what will be
    weight_bytes = 4
    tolerance = 1e-6  # of a device from the golden vectors, and below of those from the formulas; relative
    reference_tolerance = 1e-5
    program: Program | None = None  # where it acts in integers

    def __init__(self, checkpoint: str | Path) -> None:
        saved = load_checkpoint(checkpoint)
        with reading(saved.path):
            self.spec = PolicySpec.from_json(saved.manifest["policy"])
            tensors, masked = saved.files["policy"], "action_mask" in saved.files["envs"]
            self.env, self.digest, self.step = (str(saved.manifest[name]) for name in ("env", "digest", "step"))
        _check_supported(self.spec, masked)
        self.tensors, self.checkpoint = tensors, saved
        with np.errstate(all="ignore"):  # what is not finite is refused below
            self.read = self.spec.preprocessing(_moments(self.spec, tensors))
        self.net = c_net(self.spec)
        self.params = join_params(self.spec, tensors)[: lib.puf_lean_params(self.net)]
        _check_finite(self.exported, tensors, self.read)
        self.low, self.high = _bounds(self.spec)
        self.carry, self.scratch = int(lib.puf_lean_carry(self.net)), int(lib.puf_lean_scratch(self.net))
        self._kept: list[Any] = []

    @functools.cached_property
    def lean(self) -> Any:
        """The core's `puf_lean`, or in integers its `puf_lean8`."""
        lean = ffi.new("puf_lean *")
        lean.params = self._pointer(self.params)
        self._fill(lean)
        return lean

    @property
    def _bounded(self) -> Any:
        """The `puf_lean` that makes actions of heads."""
        return self.lean

    def _fill(self, lean: Any) -> None:
        """Network, entry and bounds of a `puf_lean`."""
        lean.net = self.net[0]
        if self.entry is not None:
            mean, scale, lean.clip = self.entry
            lean.mean, lean.scale = self._pointer(mean), self._pointer(scale)
        lean.low, lean.high = self._pointer(self.low), self._pointer(self.high)

    def _pointer(self, array: Array) -> Any:
        self._kept.append(ffi.from_buffer("float[]", np.ascontiguousarray(array, np.float32)))
        return self._kept[-1]

    @property
    def about(self) -> str:
        """Where it comes from, for comments and strings of any language, whatever the checkpoint calls its environment."""
        return f"{re.sub(r'[^A-Za-z0-9_.:,+ -]', '_', self.env)}, {self.step} steps, checkpoint {self.digest[:16]}"

    @property
    def exported(self) -> list[Tensor]:
        """The tensors of `params`."""
        return [tensor for tensor in self.spec.tensors() if tensor.offset < len(self.params)]

    @property
    def weights_bytes(self) -> int:
        """Of what stays in flash as parameters."""
        return 4 * len(self.params)

    @property
    def state_bytes(self) -> int:
        """Memory of one body that acts: what is handed on, heads, scratch, and how far a step has come."""
        carry = self.carry_rows * self.carry * self.carry_dtype.itemsize
        return carry + 4 * self.spec.logits + self.scratch * self.scratch_dtype.itemsize + 4

    @property
    def entry(self) -> tuple[Array, Array, float] | None:
        """Mean, scale and bound of what enters; None: observations as they are."""
        return self.read

    @property
    def findings(self) -> dict[str, Any]:
        """What the report says of the precision."""
        return {}

    @property
    def macs(self) -> int:
        """Multiplications of a weight and a number in one step."""
        total = 0
        for tensor in self.exported:
            if len(tensor.shape) > 1:
                total += tensor.size * self._places(tensor.name)
        return total

    @property
    def units(self) -> list[tuple[int, int]]:
        """How many units of work each layer has, and what one costs: see `puf_lean_continue` in lean.h."""
        activation, net, found = int(lib.PUF_LEAN_TANH), self.net, []
        gates, activations = (4, 5) if net.core == lib.PUF_LSTM else (3, 3)
        for tensor in self.exported:
            rows, inputs = tensor.shape[0], tensor.size // tensor.shape[0]
            if tensor.name.endswith(".core.input"):
                found.append((net.core_size, gates * (inputs + net.core_size) + activations * activation))
            elif len(tensor.shape) > 1 and not tensor.name.endswith(".core.state"):
                is_head = tensor.name == "policy.weight"
                found.append((rows * self._places(tensor.name), inputs + (0 if is_head else activation)))
        return [(e.size, 1) for e in net.encoder[0 : net.encoders] if not e.layers] + found

    @property
    def work(self) -> int:
        """Of one step, in what budgets of slices are counted."""
        return sum(count * cost for count, cost in self.units)

    @property
    def dearest(self) -> int:
        """The work of the dearest unit, which a slice does not divide."""
        return max(cost for _, cost in self.units)

    def _places(self, name: str) -> int:
        """How often a step reads each weight of a tensor: once, but for convolutions."""
        _, _, rest = name.partition(".encoder.")
        if not rest:
            return 1
        encoder, layer = self.net.encoder[int(rest.split(".")[0])], int(rest.split(".")[1])
        height, width = encoder.height, encoder.width
        for k in range(layer + 1 if encoder.channels else 0):
            height, width = ((side - encoder.kernel[k]) // encoder.stride[k] + 1 for side in (height, width))
        return int(height * width) if encoder.channels else 1

    def act(self, obs: Array, carry: Array) -> tuple[Array, Array, Array]:
        """One step of the core.

        Args:
            obs: (obs_size,) as the network reads it, float32 or uint8.
            carry: `no_carry()` where an episode begins, overwritten with what is handed on.

        Returns:
            heads float32 (L,), choices int32 (K,), numbers float32 (A,).
        """
        heads, scratch = np.empty(self.spec.logits, np.float32), np.empty(self.scratch, self.scratch_dtype)
        self._heads(obs, carry, scratch, heads)
        words = np.empty(len(self.spec.nvec) + self.spec.numbers, np.int32)
        check(lib.puf_lean_action(self._bounded, ffi.from_buffer("float[]", heads), ffi.from_buffer(words)), "action")
        return heads, words[: len(self.spec.nvec)], words[len(self.spec.nvec) :].view(np.float32)

    def _heads(self, obs: Array, carry: Array, scratch: Array, heads: Array) -> None:
        handed_on = ffi.from_buffer("float[]", carry) if self.carry else ffi.NULL
        buffers = (ffi.from_buffer("float[]", array) for array in (scratch, heads))
        check(lib.puf_lean_heads(self.lean, ffi.from_buffer(obs), handed_on, *buffers), "policy")

    def no_carry(self) -> Array:
        """What the memory holds where an episode begins, and its room."""
        return np.zeros(self.carry_rows * self.carry, self.carry_dtype)

    def reference(self) -> HostPolicy:
        """The same policy by the formulas, in float64."""
        return PlainPolicy(self.spec, self.tensors)


def _check_supported(spec: PolicySpec, masked: bool) -> None:
    """Refuses what cannot be exported.

    Raises:
        ConfigError: says what, and what to do.
    """
    spec.check_described()
    if not isinstance(spec.obs_space, Box):
        raise ConfigError(
            f"observations are {spec.obs_space}, and export {{c,rust}} takes one Box: export onnx takes every space"
        )
    if masked:
        raise ConfigError("this environment masks its actions, which a policy of export {c,rust} does not: use export onnx")


def _moments(spec: PolicySpec, tensors: dict[str, Array]) -> Moments | None:
    if not spec.config.normalize_obs:
        return None
    missing = [name for name in ("obs_norm/mean", "obs_norm/var", "obs_norm/count") if name not in tensors]
    if missing:
        raise CheckpointError(
            f"the policy normalises its observations, but the checkpoint lacks {', '.join(missing)}, without which actions "
            "would be wrong: take a whole checkpoint"
        )
    return Moments.of(tensors, "obs_norm/")


def _check_finite(exported: Iterable[Tensor], tensors: dict[str, Array], read: tuple[Array, Array, float] | None) -> None:
    """Refuses what training has ruined.

    Raises:
        CheckpointError: says which tensor.
    """
    for tensor in exported:
        if not np.isfinite(tensors[tensor.name]).all():
            raise CheckpointError(
                f"{tensor.name} holds NaN or infinity, of which no policy is made: take an earlier checkpoint"
            )
    if read is not None and not (np.isfinite(read[0]) & np.isfinite(read[1]) & (read[1] > 0)).all():
        raise CheckpointError(
            "the normaliser (obs_norm) holds NaN, infinity, or numbers beyond float32, of which no policy is made: take an "
            "earlier checkpoint"
        )


def _bounds(spec: PolicySpec) -> tuple[Array, Array]:
    """Low and high of the numbers of an action, float32 (A,); what has no bound has the largest float."""
    bounds = finite_bounds(spec.action_space)
    if bounds is None:
        return np.full(spec.numbers, -LARGEST, np.float32), np.full(spec.numbers, LARGEST, np.float32)
    low, high = (np.clip(bound.ravel(), np.float32(-LARGEST), np.float32(LARGEST)) for bound in bounds)
    return low, high
