"""Compiles the module: the sources of the core and of the environments as they are installed, by `ziglang`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pufferlib_core
import pufferlib_envs
from pufferlib_core.errors import MissingExtra, PufferError

from pufferlib_wasm.catalogue import catalogue_json

HERE = Path(__file__).resolve().parent
HOSTED = {"pool.c", "park.c"}  # threads
PLAIN = "kernels_serial.c"  # the module with vectors runs no other kernels than those, and leaves these out
LISTS = "web_vec.c"  # has the table of environments
FLAGS = [
    "-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-c11-extensions", "-Wno-pass-failed", "-ffreestanding", "-ffp-contract=off",
    "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv", "-DPUF_FREESTANDING", "--target=wasm32-freestanding",
]  # fmt: skip
EXPORTS = ("puf_net_tensors", "puf_net_tensor", "puf_net_params", "puf_net_carry", "puf_status_text", "puf_version")
STACK = 262144  # bytes; below the data, so that an overflow traps
SECTION = "puffer"  # custom section with the catalogue


class BuildError(PufferError):
    """A module cannot be compiled, or is not there."""


def file_name(simd: bool) -> str:
    """Of a module."""
    return "puffer.wasm" if simd else "puffer-scalar.wasm"


def compile_module(folder: Path, *, simd: bool, environments: Mapping[str, Path]) -> Path:
    """See `pufferlib_wasm.build`."""
    if find_spec("ziglang") is None:
        raise MissingExtra("ziglang is not installed: pip install 'pufferlib-wasm[build]>=0.1,<0.2'")
    core, envs = Path(pufferlib_core.source_dir()), Path(pufferlib_envs.source_dir())
    installed = sorted(envs.glob("*.c"))
    for name, path in environments.items():
        if not path.is_file() or not path.stem.isidentifier() or path.suffix != ".c":
            raise BuildError(
                f"{name}: {path} is no C file with the name of its table, <name>.c with `const void *<name>_table(void)`"
            )
    left_out = HOSTED | ({PLAIN} if simd else set())
    sources = [path for path in sorted(core.glob("*.c")) if path.name not in left_out]
    sources += [*installed, *environments.values(), *sorted((HERE / "csrc").glob("*.c"))]
    flags = [
        *FLAGS,
        *(["-msimd128", "-Dpuf_kernels_serial=puf_kernels_wasm"] if simd else []),
    ]
    tables = [f"-DPUF_WEB_ENVIRONMENTS(X)={_each(installed)}", f"-DPUF_WEB_OWN(X)={_each(environments.values())}"]
    told = catalogue_json([*(path.stem for path in installed), *environments])
    flags += [f"-I{folder}" for folder in (pufferlib_core.include_dir(), core, envs, HERE / "csrc")]
    with tempfile.TemporaryDirectory(prefix="puffer-wasm-") as name:
        objects = [Path(name) / f"{number}-{path.stem}.o" for number, path in enumerate(sources)]

        def one(source: Path, target: Path) -> None:
            listed = tables if source.name == LISTS else []  # the others are in zig's cache, whatever the environments
            _zig(*flags, *listed, _effort(source), "-c", str(source), "-o", str(target))

        with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
            list(workers.map(one, sources, objects))
        linked = Path(name) / "linked.wasm"
        link = ["-Wl,--no-entry", "-Wl,--strip-all", f"-Wl,-z,stack-size={STACK}", *(f"-Wl,--export={e}" for e in EXPORTS)]
        _zig("--target=wasm32-freestanding", "-nostdlib", *link, *map(str, objects), "-o", str(linked))
        module = linked.read_bytes() + _section(SECTION, told.encode())
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / file_name(simd)
    out.write_bytes(module)
    return out


def _each(sources: Iterable[Path]) -> str:
    """X(name) for each."""
    return " ".join(f"X({path.stem})" for path in sources)


def _effort(source: Path) -> str:
    """Fast where a run spends its time, else small."""
    often = source.name in ("kernels_wasm.c", PLAIN, "rollout.c", "vec.c") or source.parent.parent.name == "pufferlib_envs"
    return "-O2" if often else "-Os"


def _zig(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ziglang", "cc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"the module does not compile: {done.stderr[-4000:]}")


def _section(name: str, content: bytes) -> bytes:
    """A custom section of a module, which engines ignore (WebAssembly core specification 1.0, 5.5.3)."""
    body = _leb128(len(name)) + name.encode() + content
    return b"\0" + _leb128(len(body)) + body


def _leb128(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))
