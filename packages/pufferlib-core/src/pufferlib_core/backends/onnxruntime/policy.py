"""Policies that act through onnxruntime, from tensors or from an exported file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pufferlib_core.backends.acting import HostPolicy, checked_carry
from pufferlib_core.backends.onnxruntime import OnnxruntimeConfig
from pufferlib_core.backends.onnxruntime.contract import KEY, KIND, SCHEMA, inputs, outputs
from pufferlib_core.backends.onnxruntime.export import export
from pufferlib_core.backends.onnxruntime.graph import build
from pufferlib_core.backends.onnxruntime.session import feed, ports, session
from pufferlib_core.backends.params import join_params
from pufferlib_core.checkpoint import Checkpoint, reading
from pufferlib_core.emulation import misfit
from pufferlib_core.errors import CheckpointError
from pufferlib_core.native import Array
from pufferlib_core.policies import PolicySpec

__all__ = ["OnnxPolicy", "export", "load_policy", "read_file"]

MODEL = "model.onnx"  # in place of tensors: the bytes of an exported file, uint8


class OnnxPolicy(HostPolicy):
    """Acts with an exported graph; samples are the core's, so actions are those of the native back end.

    Args:
        spec: the policy.
        model: the bytes of the file.
        options: of the back end.
    """

    def __init__(self, spec: PolicySpec, model: bytes, options: OnnxruntimeConfig) -> None:
        super().__init__(spec)
        self.session = session(model, options)
        self.masked = "action_mask" in {port.name for port in self.session.get_inputs()}
        told = [port[:3] for port in (*inputs(spec, self.masked), *outputs(spec, self.masked))]
        for has, says in itertools.zip_longest(ports(self.session), told):
            if has != says:
                raise CheckpointError(f"the graph is not that of its contract: it has {has}, the contract says {says}")
        wanted = ("logits", "mean", "value", "next_carry")
        self._names = [port.name for port in outputs(spec, self.masked) if port.name in wanted]
        zeros = np.zeros((1, spec.carry), np.float32) if spec.carry else None
        self._log_std = self._run(["log_std"], spec.tree.empty(1), zeros)[0] if spec.numbers else None

    def _run(self, names: list[str], rows: Array, carry: Array | None) -> list[Array]:
        mask = np.ones((len(rows), sum(self.spec.nvec)), np.uint8) if self.masked else None  # the core applies masks itself
        found: list[Array] = self.session.run(names, feed(self.spec, rows, mask, carry))
        return found

    def _outputs(self, obs: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        tree = self.spec.tree
        if not isinstance(obs, np.ndarray):
            raise misfit(tree, obs)
        if tree.direct and obs.shape[1:] == (tree.width,):
            obs = obs.reshape(len(obs), *tree.shape)
        if obs.dtype != tree.dtype or obs.shape[1:] != tree.shape:
            raise misfit(tree, obs)
        carry = checked_carry(self.spec, carry, len(obs))
        found = dict(zip(self._names, self._run(self._names, obs, carry), strict=True))
        parts = [found[name] for name in ("logits", "mean") if name in found]
        heads = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return heads, found["value"], found.get("next_carry")

    def outputs(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """See `HostPolicy`; the graph reads observations, so features must be the same numbers."""
        return self._outputs(features, carry)

    def log_std(self) -> Array | None:
        """See `HostPolicy`."""
        return self._log_std


def load_policy(
    spec: PolicySpec, tensors: Mapping[str, Array], *, options: OnnxruntimeConfig | None = None, threads: int = 1
) -> OnnxPolicy:
    """A policy that acts, from the tensors of a checkpoint or what `read_file` gives; threads are those of `options`."""
    if MODEL in tensors:
        model = tensors[MODEL].tobytes()
    else:
        join_params(spec, tensors)  # checks them
        model = build(spec, tensors, masked=False, about={})
    return OnnxPolicy(spec, model, options or OnnxruntimeConfig())


def read_file(path: Path) -> Checkpoint:
    """An exported policy in the form of a checkpoint.

    Raises:
        CheckpointError: if it cannot be read, or was not written by `puffer export onnx`.
    """
    try:
        model = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = session(model, OnnxruntimeConfig()).get_modelmeta().custom_metadata_map.get(KEY)
        found = json.loads(text) if text is not None else {}
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{path}: is no ONNX file that can be run: damaged? ({error})") from error
    if not isinstance(found, dict) or found.get("kind") != KIND or found.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path}: is ONNX but holds no contract of schema {SCHEMA}: was it written by puffer export onnx?"
        )
    with reading(path):
        state = {"settings": found["settings"]}
        return Checkpoint(path, found, {"policy": {MODEL: np.frombuffer(model, np.uint8)}}, state)
