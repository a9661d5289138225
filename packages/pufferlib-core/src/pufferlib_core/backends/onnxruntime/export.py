"""A checkpoint as an ONNX file, compared with the policy that it came from before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pufferlib_core.backends import get_backend
from pufferlib_core.backends.onnxruntime import OnnxruntimeConfig
from pufferlib_core.backends.onnxruntime.contract import bounds, inputs, outputs
from pufferlib_core.backends.onnxruntime.graph import OPSET, build
from pufferlib_core.backends.onnxruntime.session import feed, session
from pufferlib_core.backends.plain import PlainPolicy
from pufferlib_core.checkpoint import Checkpoint, load_checkpoint, reading
from pufferlib_core.checkpoint.files import write_atomically
from pufferlib_core.errors import NativeError, RunError, ShapeError
from pufferlib_core.native import Array
from pufferlib_core.ops.distributions import MASKED, squash
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec

TOLERANCE = 1e-5  # relative to the largest number of an output, or to 1
ROWS, STEPS = 32, 4


def export(checkpoint: str | Path, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Writes the policy of a checkpoint as an ONNX file, or nothing.

    Args:
        checkpoint: checkpoint or run folder.
        out: the file.
        force: replace it if it exists.

    Returns:
        The object of `puffer export onnx --json`.

    Raises:
        CheckpointError: if the checkpoint is damaged or foreign.
        RunError: if the file exists, cannot be written, or the graph differs from the policy by more than 1e-5.
    """
    out = Path(out)
    if out.is_dir():
        raise RunError(f"{out} is a folder: name a file in it, such as {out / 'policy.onnx'}")
    if out.exists() and not force:
        raise RunError(f"{out} exists and is not overwritten: choose another name, or --force")
    if not out.parent.is_dir():
        raise RunError(f"{out.parent}: there is no such folder")
    saved = load_checkpoint(checkpoint)
    with reading(saved.path):
        spec = PolicySpec.from_json(saved.manifest["policy"])
        tensors, masked, about = saved.files["policy"], "action_mask" in saved.files["envs"], _source(saved)
        reference, compared = _reference(spec, tensors)
    model = build(spec, tensors, masked=masked, about=about)
    found = differences(spec, tensors, model, reference, masked=masked)
    for name, difference in found.items():
        if not difference <= TOLERANCE:  # NaN too
            raise RunError(
                f"{out} is not written: {name} of the graph differs from the policy's by {difference:.2g} (relative; at most "
                f"{TOLERANCE:g})"
            )
    write_atomically(out, model)
    return {
        "file": str(out),
        "bytes": len(model),
        "opset": OPSET,
        "env": saved.manifest["env"],
        "checkpoint": str(saved.path),
        "compared_with": compared,
        "differences": found,
        "inputs": [port.name for port in inputs(spec, masked)],
        "outputs": [port.name for port in outputs(spec, masked)],
    }


def differences(spec: PolicySpec, tensors: dict[str, Array], model: bytes, reference: Any, *, masked: bool) -> dict[str, float]:
    """The largest relative difference of each output over a few steps of random observations, masks and what they hand on.

    A choice differs by what its logit lacks to the best allowed one's, so that ties within rounding are none.
    """
    running, rng = session(model, OnnxruntimeConfig()), np.random.default_rng(0)
    names = [port.name for port in outputs(spec, masked)]
    ours = theirs = np.zeros((ROWS, spec.carry), np.float32) if spec.carry else None
    worst = dict.fromkeys(names, 0.0)
    for _ in range(STEPS):
        rows = _rows(spec, tensors, rng)
        mask = _mask(spec.nvec, rng) if masked else None
        heads, value = reference.forward(rows, carry=ours)
        if ours is not None:
            ours = ours.copy()
            reference.act(rows, carry=ours)  # what it hands on
        given = dict(zip(names, running.run(names, feed(spec, rows, mask, theirs)), strict=True))
        theirs = given.get("next_carry")
        for name, difference in _compared(spec, given, mask, heads, value, ours, tensors.get("log_std")).items():
            worst[name] = float(np.fmax(worst[name], difference)) if difference == difference else float("nan")
    return worst


def _compared(
    spec: PolicySpec, given: dict[str, Array], mask: Array | None, heads: Array, value: Array, carry: Any, log_std: Any
) -> dict[str, float]:
    """Differences of one step."""
    wide, found = sum(spec.nvec), {}
    expected = {"mean": heads[:, wide:], "log_std": log_std, "value": value, "next_carry": carry}
    both = "action/choices" in given
    box = bounds(spec)
    if box is not None:
        if spec.squash_bounds is None:
            kept = np.clip(heads[:, wide:], np.array(box.low, np.float32), np.array(box.high, np.float32))
        else:
            kept = squash(heads[:, wide:], *spec.squash_bounds, xp=np)
        name = "action/numbers" if both else "action"
        expected[name] = kept.reshape(given[name].shape)
    for name, wanted in expected.items():
        if name in given:
            found[name] = _relative(given[name], wanted)
    if wide:
        allowed = np.ones((len(heads), wide), bool) if mask is None else mask != 0
        logits, chosen = heads[:, :wide], given["action/choices" if both else "action"].reshape(len(heads), -1)
        exact = (given["logits"][~allowed] == MASKED).all()
        found["logits"] = _relative(given["logits"][allowed], logits[allowed]) if exact else float("inf")
        found["action/choices" if both else "action"] = _lost(np.where(allowed, logits, -np.inf), chosen, spec.nvec)
    return found


def _relative(given: Array, wanted: Array) -> float:
    return float(np.abs(given.astype(np.float64) - wanted).max() / max(1.0, np.abs(wanted).max()))


def _lost(logits: Array, chosen: Array, nvec: tuple[int, ...]) -> float:
    """How far the logits of chosen options lie below the best ones."""
    scale = max(1.0, float(np.abs(logits[np.isfinite(logits)]).max()))
    parts = np.split(logits, np.cumsum(nvec)[:-1], axis=1)
    taken = [np.take_along_axis(part, chosen[:, [k]], axis=1) for k, part in enumerate(parts)]
    return max(float((part.max(axis=1, keepdims=True) - took).max()) for part, took in zip(parts, taken, strict=True)) / scale


def _reference(spec: PolicySpec, tensors: dict[str, Array]) -> tuple[Any, str]:
    """The policy on the native back end, or in NumPy where the core does not run it; and its name."""
    try:
        return get_backend("native", "infer").load_policy(spec, tensors), "native"
    except (NativeError, ShapeError):
        return PlainPolicy(spec, tensors), "numpy"


def _source(saved: Checkpoint) -> dict[str, Any]:
    """What the contract says of where a policy comes from."""
    return {
        "env": saved.manifest["env"],
        "settings": saved.state["settings"],
        "checkpoint": {"step": saved.manifest["step"], "sha256": saved.manifest["digest"]},
    }


def _rows(spec: PolicySpec, tensors: dict[str, Array], rng: np.random.Generator) -> Array:
    """Random observations within their spaces, near the mean where the policy knows one, and never huge."""
    tree, first = spec.tree, 0
    rows = tree.empty(ROWS)
    moments = Moments.of(tensors, "obs_norm/") if spec.config.normalize_obs else None
    for leaf in tree.leaves:
        place, size = tree.view(rows, leaf.path), leaf.bytes // leaf.dtype.itemsize
        if leaf.choices:
            start = getattr(leaf.space, "start", 0)
            values = start + rng.integers(leaf.choices, size=(ROWS, size))
        else:
            limit = 10.0 if leaf.dtype.kind == "f" else 255.0
            low, high = (np.asarray(getattr(leaf.space, name)) for name in ("low", "high"))
            values = rng.uniform(np.clip(low, -limit, limit), np.clip(high, -limit, limit), (ROWS, size))
            if moments is not None:
                part = slice(first, first + size)
                values = moments.mean[part] + 2 * np.sqrt(moments.var[part]) * rng.normal(size=(ROWS, size))
                values = np.clip(values, low, high)
            values = values if leaf.dtype.kind == "f" else np.rint(values)
        place[...] = values.reshape(place.shape)
        first += leaf.width
    return rows


def _mask(nvec: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random masks that leave each choice an option."""
    mask = (rng.random((ROWS, sum(nvec))) < 0.6).astype(np.uint8)
    firsts = np.cumsum((0, *nvec[:-1]))
    for first, n in zip(firsts, nvec, strict=True):
        mask[np.arange(ROWS), first + rng.integers(n, size=ROWS)] = 1
    return mask
