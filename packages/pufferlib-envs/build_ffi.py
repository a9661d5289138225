"""Builds pufferlib_envs._native: the function tables of the environments, compiled against the headers of the core."""

import os
import re
import sys
from pathlib import Path

import pufferlib_core
from cffi import FFI

HERE = Path(__file__).resolve().parent
CSRC = Path("src/pufferlib_envs/csrc")
NAMES = sorted(path.stem for path in (HERE / CSRC).glob("*.c"))


def flags() -> list[str]:
    """The core's: environments are bit-equal on every ISA and compiler."""
    if sys.platform == "win32":
        return ["/O2", "/std:c11", "/fp:precise"]
    werror = ["-Werror"] if os.environ.get("PUFFER_WERROR") == "1" else []
    return ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv",
            "-fvisibility=hidden", "-g0", "-Wall", "-Wextra", *werror]  # fmt: skip


ffi = FFI()
for name in NAMES:
    header = (HERE / CSRC / f"{name}.h").read_text()
    ffi.cdef("\n".join(re.findall(r"/\* <cdef> \*/\n(.*?)/\* </cdef> \*/", header, re.DOTALL)))
ffi.set_source(
    "pufferlib_envs._native",
    "\n".join(f'#include "{name}.h"' for name in NAMES),
    sources=[str(CSRC / f"{name}.c") for name in NAMES],
    include_dirs=[str(CSRC), pufferlib_core.include_dir()],
    depends=sorted(str(path.relative_to(HERE)) for ext in ("h", "inl") for path in (HERE / CSRC).rglob(f"*.{ext}")),
    extra_compile_args=flags(),
    py_limited_api=True,
)
