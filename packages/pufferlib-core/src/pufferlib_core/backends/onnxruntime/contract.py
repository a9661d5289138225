"""What an exported policy reads and gives, in words that a program can read: the JSON in the file's metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pufferlib_core.emulation import Leaf
from pufferlib_core.errors import SpaceError
from pufferlib_core.ops.distributions import MASKED
from pufferlib_core.policies import PolicySpec
from pufferlib_core.spaces import Box, Discrete

KEY = "pufferlib"  # of the metadata
KIND = "pufferlib-policy"
SCHEMA = 1
BATCH = "batch"  # the axis whose length is free


class Port(NamedTuple):
    """An input or output of the graph."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    meaning: str


def leaf_name(leaf: Leaf) -> str:
    """Name of the input that takes a part of an observation: `obs`, or `obs/units/hp` and `obs/0` of nested ones."""
    return "/".join(("obs", *map(str, leaf.path)))


def inputs(spec: PolicySpec, masked: bool) -> list[Port]:
    """Inputs in their order.

    Raises:
        SpaceError: if two parts of the observation would have the same name.
    """
    ports = [Port(leaf_name(leaf), leaf.dtype.name, (BATCH, *leaf.shape), _meaning(leaf)) for leaf in spec.tree.leaves]
    if masked:
        meaning = "not 0 where a choice is allowed, the options of one choice after the other; each choice needs at least one"
        ports.append(Port("action_mask", "uint8", (BATCH, sum(spec.nvec)), meaning))
    if spec.carry:
        meaning = "next_carry of the step before; zeros in the first step of an episode"
        ports.append(Port("carry", "float32", (BATCH, spec.carry), meaning))
    names = [port.name for port in ports]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SpaceError(f"two parts of the observation would both be called {twice[0]!r} in the file: rename one")
    return ports


def outputs(spec: PolicySpec, masked: bool) -> list[Port]:
    """Outputs in their order."""
    space, nvec, numbers = spec.action_space, spec.nvec, spec.numbers
    counted = "the most likely allowed choice" if masked else "the most likely choice"
    kept = "squashed into" if spec.config.squash else "clipped to"
    greedy = {"choices": f"{counted}, counted from 0", "numbers": f"the mean, {kept} the bounds of the space"}
    ports = []
    if nvec and numbers:
        ports.append(Port("action/choices", "int32", (BATCH, len(nvec)), greedy["choices"]))
        ports.append(Port("action/numbers", "float32", (BATCH, numbers), greedy["numbers"]))
    elif nvec:
        ports.append(Port("action", "int32", (BATCH, *space.shape), greedy["choices"]))
    else:
        ports.append(Port("action", "float32", (BATCH, *space.shape), greedy["numbers"]))
    if nvec:
        without = f"; {MASKED:g} where the mask is 0" if masked else ""
        ports.append(Port("logits", "float32", (BATCH, sum(nvec)), f"of the options of one choice after the other{without}"))
    if numbers:
        ports.append(Port("mean", "float32", (BATCH, numbers), f"of the numbers, before they are {kept} the bounds"))
        ports.append(Port("log_std", "float32", (numbers,), "logarithms of their deviations, the same for every observation"))
    ports.append(Port("value", "float32", (BATCH,), "expected discounted return"))
    if spec.carry:
        ports.append(
            Port("next_carry", "float32", (BATCH, spec.carry), "what the next step of the same episode reads as carry")
        )
    return ports


def contract(spec: PolicySpec, masked: bool, about: Mapping[str, Any]) -> dict[str, Any]:
    """The whole description.

    Args:
        spec: the policy.
        masked: whether it reads action masks.
        about: where it comes from: `env`, `settings`, `checkpoint`.
    """
    ports = {"inputs": inputs(spec, masked), "outputs": outputs(spec, masked)}
    kept = "then clipped to [low, high]"
    if spec.config.squash:
        kept = "x; then (low + high) / 2 + (high - low) / 2 * tanh(x)"
    drawn = {
        "logits": "choice k: a sample of softmax(its part of logits), parts of nvec[k] options",
        "mean": f"numbers: mean + exp(log_std) * a standard normal, {kept}",
    }
    return {
        "kind": KIND,
        "schema": SCHEMA,
        **about,
        "policy": spec.to_json(),
        "space_fingerprint": spec.space_fingerprint,
        **{kind: [port._asdict() for port in listed] for kind, listed in ports.items()},
        "preprocessing": "in the graph: observations are given as the environment writes them",
        "postprocessing": {"action": spec.postprocessing, **_bounds(spec)},
        "nvec": list(spec.nvec),
        "sampling": [text for name, text in drawn.items() if any(port.name == name for port in ports["outputs"])],
        "carry": {"size": spec.carry, "reset": "zeros where an episode begins"} if spec.carry else None,
    }


def bounds(spec: PolicySpec) -> Box | None:
    """The Box of an action's numbers; None: it has none."""
    space = getattr(spec.action_space, "numbers", spec.action_space)
    return space if isinstance(space, Box) else None


def _bounds(spec: PolicySpec) -> dict[str, Any]:
    box = bounds(spec)
    both = {} if box is None else {"low": box.low, "high": box.high}
    return {name: [x if math.isfinite(x) else str(x) for x in bound] for name, bound in both.items()}  # JSON has no infinity


def _meaning(leaf: Leaf) -> str:
    if not leaf.choices:
        return "numbers as the environment writes them"
    start = leaf.space.start if isinstance(leaf.space, Discrete) else 0
    counts = ", ".join(f"{start} .. {start + n - 1}" for n in leaf.choices[:8])
    return f"choices: {counts}{', ...' if len(leaf.choices) > 8 else ''}"
