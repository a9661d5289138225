"""Builds pufferlib_core._native: the text between cdef marks of the headers, and every C file of the core."""

import os
import re
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
CSRC = Path("src/pufferlib_core/csrc")  # relative: setuptools wants paths below the project


def declarations() -> str:
    """What Python sees, in the order in which puffer.h includes the headers; the compiler reads the same text."""
    include = HERE / CSRC / "include"
    names = [*re.findall(r'#include "(puffer/\w+\.h)"', (include / "puffer/puffer.h").read_text()), "puffer/puffer.h"]
    blocks = []
    for name in names:
        blocks += re.findall(r"/\* <cdef> \*/\n(.*?)/\* </cdef> \*/", (include / name).read_text(), re.DOTALL)
    return "\n".join(blocks)


def flags() -> list[str]:
    """No FMA contraction anywhere: the bit-equal kernels depend on it."""
    if sys.platform == "win32":
        return ["/O2", "/std:c11", "/fp:precise"]
    werror = ["-Werror"] if os.environ.get("PUFFER_WERROR") == "1" else []
    return ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv",
            "-fvisibility=hidden", "-pthread", "-g0", "-Wall", "-Wextra", *werror]  # fmt: skip


ffi = FFI()
ffi.cdef(declarations())
ffi.set_source(
    "pufferlib_core._native",
    '#include "puffer/puffer.h"',
    sources=sorted(str(CSRC / path.name) for path in (HERE / CSRC).glob("*.c")),
    include_dirs=[str(CSRC / "include"), str(CSRC)],
    depends=sorted(str(path.relative_to(HERE)) for ext in ("h", "inl") for path in (HERE / CSRC).rglob(f"*.{ext}")),
    extra_compile_args=flags(),
    extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
    py_limited_api=True,
)
