"""The C texts that are made for one policy: declarations, constants, golden vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from pufferlib_core.native import Array, ffi, lib

from pufferlib_embedded.golden import Golden
from pufferlib_embedded.integer import Program
from pufferlib_embedded.model import LARGEST, Model

SIZES = ("obs_size", "obs_number", "encoders", "layers", "activation", "core", "core_size", "action_size", "action_numbers",
         "action_squash")  # fmt: skip


def number(x: float) -> str:
    """A float32 constant, exact."""
    text = f"{np.float32(min(max(x, -LARGEST), LARGEST)):.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def array(kind: str, name: str, values: Array, *, static: bool = True) -> str:
    """A constant array; one unused element where there are no values."""
    flat = values.ravel()
    words = [number(float(x)) for x in flat] if kind == "float" else [str(int(x)) for x in flat]
    lines = [", ".join(words[first : first + 8]) for first in range(0, len(words), 8)] or ["0"]
    body = ",\n    ".join(lines)
    return f"{'static ' if static else ''}const {kind} {name}[{max(1, len(flat))}] = {{\n    {body},\n}};\n"


def header(model: Model) -> dict[str, str]:
    """What the template of policy.h is filled with."""
    spec, carry = model.spec, model.carry
    sizes = {
        "obs": spec.tree.width, "heads": spec.logits, "choices": len(spec.nvec), "numbers": spec.numbers, "carry": carry,
        "scratch": model.scratch, "work": model.work, "unit": model.dearest, "tanh": int(lib.PUF_LEAN_TANH),
    }  # fmt: skip
    action = []
    if spec.nvec:
        options = ", ".join(map(str, spec.nvec))
        action.append(f"    int32_t choice[POLICY_CHOICES]; /* counted from 0; options of each: {options} */\n")
    if spec.numbers:
        action.append(f"    float number[POLICY_NUMBERS]; /* after the {spec.postprocessing} to its bounds */\n")
    return {
        "about": model.about,
        "sizes": "".join(f"#define POLICY_{name.upper()} {size}\n" for name, size in sizes.items()),
        "obs": "uint8_t" if spec.tree.feature_dtype == np.uint8 else "float",
        "action": "".join(action),
        "carry": _carry(model) if carry else "",
        "scratch": c_type(model.scratch_dtype),
    }


def c_type(dtype: np.dtype[Any]) -> str:
    """Of the numbers of an array."""
    return "float" if dtype == np.float32 else f"{dtype.name}_t"


def _carry(model: Model) -> str:
    kind, rows = c_type(model.carry_dtype), model.carry_rows
    size = f"{rows} * POLICY_CARRY" if rows > 1 else "POLICY_CARRY"
    return f"    {kind} carry[{size}]; /* what the memory holds between steps{', and room for what it will' * (rows > 1)} */\n"


def constants(model: Model) -> dict[str, str]:
    """What the template of policy.c is filled with."""
    parts, fields = [], [("net", _net(model))]
    if model.program is None:
        parts, fields = [array("float", "PARAMS", model.params)], [*fields, ("params", "PARAMS")]
    if model.entry is not None:
        mean, scale, clip = model.entry
        parts += [array("float", "MEAN", mean), array("float", "SCALE", scale)]
        fields += [("mean", "MEAN"), ("scale", "SCALE"), ("clip", number(clip if math.isfinite(clip) else LARGEST))]
    if model.spec.numbers:
        parts += [array("float", "LOW", model.low), array("float", "HIGH", model.high)]
        fields += [("low", "LOW"), ("high", "HIGH")]
    kind = "puf_lean"
    if model.program is not None:
        more, integers = _integers(model.program)
        kind, parts, fields = (
            "puf_lean8",
            parts + more,
            [("lean", _braces(f".{name} = {text}" for name, text in fields)), *integers],
        )
    lean = ",\n".join(f"    .{name} = {text}" for name, text in fields)
    return {
        "constants": "\n".join([*parts, f"static const {kind} LEAN = {{\n{lean},\n}};\n"]),
        "lean": kind,
        "header": kind.removeprefix("puf_"),
        "action": "&LEAN.lean" if model.program is not None else "&LEAN",
        "carry": "state->carry" if model.carry else "NULL",
        "reset": "    for (int32_t i = 0; i < POLICY_CARRY; i++) { state->carry[i] = 0; }\n" if model.carry else "",
    }


def _integers(program: Program) -> tuple[list[str], list[tuple[str, str]]]:
    """Arrays of a program, and the fields of `puf_lean8` that name them."""
    flat = program.flat()
    parts = [array(c_type(values.dtype), name.upper(), values) for name, values in flat.items()]
    return parts, [*((name, name.upper()) for name in flat), ("cell", str(program.cell)), ("point", str(program.point))]


def _net(model: Model) -> str:
    """The acting part of a network: without its critic, whose separate tower comes later in the parameters."""
    net = model.net
    fields = [f".{name} = {getattr(net, name)}" for name in SIZES if getattr(net, name)]
    fields.append(f".width = {_list(net.width[0 : net.layers])}")
    if model.spec.nvec:
        fields.append(f".action_n = {_list(model.spec.nvec)}")
    if net.encoders:
        fields.append(f".encoder = {_braces(_encoder(encoder) for encoder in net.encoder[0 : net.encoders])}")
    return _braces(fields)


def _encoder(encoder: Any) -> str:
    fields = [f".{name} = {getattr(encoder, name)}" for name in ("size", "height", "width", "channels", "layers")]
    if encoder.layers:
        lists = ("out", "kernel", "stride") if encoder.channels else ("out",)
        fields += [f".{name} = {_list(getattr(encoder, name)[0 : encoder.layers])}" for name in lists]
    return _braces(fields)


def _list(values: Iterable[Any]) -> str:
    return _braces(map(str, ffi.unpack(values, len(values)) if isinstance(values, ffi.CData) else values))


def _braces(parts: Iterable[str]) -> str:
    return f"{{{', '.join(parts)}}}"


def vectors(golden: Golden) -> str:
    """golden.c."""
    kind = "uint8_t" if golden.obs.dtype == np.uint8 else "float"
    arrays = [("uint8_t", "begins", golden.begins), (kind, "obs", golden.obs), ("float", "heads", golden.heads),
              ("int32_t", "choices", golden.choices), ("float", "numbers", golden.numbers)]  # fmt: skip
    texts = [array(kind, f"golden_{name}", values, static=False) for kind, name, values in arrays]
    rows = f"const int32_t golden_rows = {len(golden.obs)};\n"
    about = "/* Observations in order, and what the policy makes of them. */"
    return "\n".join([about, '#include "golden.h"\n', rows, *texts])


def compared(model: Model) -> str:
    """The part of test_policy.c that compares actions."""
    text = ""
    if model.spec.nvec and model.tolerance == 0:
        text += (
            "    for (int32_t k = 0; k < POLICY_CHOICES; k++) {\n"
            "        if (action.choice[k] != golden_choices[i * POLICY_CHOICES + k]) { return 1.0f; }\n"
            "    }\n"
        )
    elif model.spec.nvec:
        options = _list(model.spec.nvec)
        text += (
            f"    static const int32_t OPTIONS[POLICY_CHOICES] = {options};\n"
            "    const float *logits = heads;\n"
            "    for (int32_t k = 0; k < POLICY_CHOICES; k++) {\n"
            "        const int32_t chosen = action.choice[k];\n"
            "        if ((chosen < 0) || (chosen >= OPTIONS[k])) { return 1.0f; }\n"
            "        worst = worse(worst, away(logits[chosen], logits[golden_choices[i * POLICY_CHOICES + k]], scale));\n"
            "        logits += OPTIONS[k];\n"
            "    }\n"
        )
    if model.spec.numbers:
        text += (
            "    for (int32_t k = 0; k < POLICY_NUMBERS; k++) {\n"
            "        worst = worse(worst, away(action.number[k], golden_numbers[i * POLICY_NUMBERS + k], scale));\n"
            "    }\n"
        )
    return text


def verified(model: Model) -> dict[str, str]:
    """What the harnesses for proofs are filled with: any observation, and what holds for every action."""
    bytes_ = model.spec.tree.feature_dtype == np.uint8
    claims = [(f"action.choice[{k}]", "0", str(options - 1)) for k, options in enumerate(model.spec.nvec)]
    claims += [
        (f"action.number[{k}]", number(float(low)), number(float(high)))
        for k, (low, high) in enumerate(zip(model.low, model.high, strict=True))
    ]
    finite = "        for (int32_t i = 0; i < POLICY_HEADS; i++) { /*@ assert \\is_finite(state.heads[i]); */ }\n"
    return {
        "any": "(uint8_t)Frama_C_interval(0, 255)" if bytes_ else "Frama_C_float_interval(-VERIFY_OBS, VERIFY_OBS)",
        "asserted": finite + "".join(f"        /*@ assert {low} <= {name} <= {high}; */\n" for name, low, high in claims),
        "explored": "".join(f"        klee_assert(({name} >= {low}) && ({name} <= {high}));\n" for name, low, high in claims),
    }
