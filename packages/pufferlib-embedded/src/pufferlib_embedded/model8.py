"""The part of a policy that acts on a device, in integers, as the core's `puf_lean8` reads it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import Array, check, ffi, lib
from pufferlib_core.policies import PolicySpec

from pufferlib_embedded.integer import BYTE, Program, entered, run
from pufferlib_embedded.model import Model
from pufferlib_embedded.quantize import quantize
from pufferlib_embedded.rollouts import CALIBRATED, HELD_OUT, compare, environment, returns, rollout


class IntegerPolicy(HostPolicy):
    """Acts with the integers of a program, by the oracle. Its carry holds whole numbers, of which each is a float too.

    Args:
        spec: the policy.
        program: of it.
        log_std: of the policy's numbers.
    """

    def __init__(self, spec: PolicySpec, program: Program, log_std: Array | None) -> None:
        super().__init__(spec)
        self.program, self._log_std = program, log_std

    def outputs(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """See `HostPolicy`; values are 0."""
        own = self.spec.carry // (2 if self.spec.config.separate else 1)
        before = np.zeros((len(features), own), np.int64) if carry is None else carry[:, :own].astype(np.int64)
        heads, after = run(self.program, entered(self.program, features), before)
        handed = None
        if carry is not None:
            handed = np.zeros_like(carry)
            handed[:, :own] = after
        return (heads * 2.0**-self.program.point).astype(np.float32), np.zeros(len(features), np.float32), handed

    def log_std(self) -> Array | None:
        """See `HostPolicy`."""
        return self._log_std


class Model8(Model):
    """A policy in integers: calibrated where it was trained, and compared there with the floats that it was.

    Args:
        checkpoint: checkpoint or run folder.
        calibration_steps: rows of all environments together whose numbers are the ranges of inputs and layers.

    Raises:
        CheckpointError: if it is damaged or foreign, or lacks the statistics of its observations.
        ConfigError: if its network, observations or actions cannot be exported, its environment cannot be made here, or a sum
            could leave 32 bits.
    """

    precision = "int8"
    program: Program
    carry_dtype, scratch_dtype = np.dtype(np.int16), np.dtype(np.int8)
    carry_rows = 2
    weight_bytes = 1
    roots = ("lean8.c", *Model.roots)
    tolerance = reference_tolerance = 0.0

    def __init__(self, checkpoint: str | Path, calibration_steps: int = 4096) -> None:
        if calibration_steps < 1:
            raise ConfigError(f"--calibration-steps {calibration_steps} must be at least 1")
        super().__init__(checkpoint)
        instead = "int8 finds the ranges of its numbers there, --precision float32 does without"
        env = environment(self.checkpoint, self.spec, instead=instead)
        seen = rollout(self.checkpoint, env, self.spec, rows=calibration_steps, seed=CALIBRATED)
        self.program = quantize(self, seen.rows, seen.cell)
        held_out = rollout(self.checkpoint, env, self.spec, rows=calibration_steps, seed=HELD_OUT)
        self._findings = {
            "calibration_rows": len(seen.rows),
            "layers": _layers(self.program),
            "held_out": compare(super().reference(), self.reference(), held_out),
            "returns": returns(self.checkpoint, self.reference(), env),
        }

    @functools.cached_property
    def lean(self) -> Any:
        """See `Model`."""
        lean = ffi.new("puf_lean8 *")
        self._fill(lean.lean)
        for name, flat in self.program.flat().items():
            self._kept.append(ffi.from_buffer(f"{flat.dtype.name}_t[]", flat))
            setattr(lean, name, self._kept[-1])
        lean.cell, lean.point = self.program.cell, self.program.point
        return lean

    @property
    def _bounded(self) -> Any:
        return ffi.addressof(self.lean.lean)

    @property
    def weights_bytes(self) -> int:
        """See `Model`."""
        entry = () if self.entry is None else self.entry[:2]
        return sum(array.nbytes for array in (*self.program.flat().values(), *entry))

    @property
    def units(self) -> list[tuple[int, int]]:
        """See `Model`: a core also makes bytes of h, before and after."""
        *layers, heads = super().units
        copies = [(int(self.net.core_size), 1)] if self.carry else []
        return [*layers[:-1], *copies, layers[-1], *copies, heads]

    @property
    def entry(self) -> tuple[Array, Array, float] | None:
        """See `Model`: what bytes are made with."""
        return None if self.program.middle is None else (self.program.middle, self.program.rate, float(BYTE))

    @property
    def findings(self) -> dict[str, Any]:
        """See `Model`."""
        return self._findings

    def _heads(self, obs: Array, carry: Array, scratch: Array, heads: Array) -> None:
        handed_on = ffi.from_buffer("int16_t[]", carry) if self.carry else ffi.NULL
        buffers = (ffi.from_buffer("int8_t[]", scratch), ffi.from_buffer("float[]", heads))
        check(lib.puf_lean8_heads(self.lean, ffi.from_buffer(obs), handed_on, *buffers), "policy")

    def reference(self) -> IntegerPolicy:
        """The same policy by the oracle."""
        log_std = self.tensors["log_std"] if self.spec.numbers else None
        return IntegerPolicy(self.spec, self.program, log_std)


def _layers(program: Program) -> list[dict[str, Any]]:
    """Of the report: what one unit is of what each layer gives and of the sums of its rows, and how large sums become."""
    found = []
    for matrix in program.matrices():
        units = matrix.unit * matrix.multiplier / 2.0**matrix.shift
        found.append(
            {
                "name": matrix.name,
                "shape": list(matrix.weight.shape),
                "unit": matrix.unit,
                "least_row_unit": float(units.min()),
                "largest_row_unit": float(units.max()),
                "largest_sum": matrix.largest_sum,
            }
        )
    return found
