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
from typing import Literal

import pufferlib_core
import pufferlib_envs
from pufferlib_core.errors import MissingExtra, PufferError

from pufferlib_wasm.catalogue import catalogue_json

HERE = Path(__file__).resolve().parent
Kind = Literal["simd", "scalar", "threads"]
KINDS: dict[Kind, str] = {"simd": "puffer.wasm", "scalar": "puffer-scalar.wasm", "threads": "puffer-threads.wasm"}
HOSTED = {"pool.c", "park.c"}  # an operating system
SHARED = {"crew.c"}  # memory that threads share
PLAIN = "kernels_serial.c"  # the module with vectors runs no other kernels than those, and leaves these out
LISTS = "web_vec.c"  # has the table of environments
FLAGS = [
    "-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-c11-extensions", "-Wno-pass-failed", "-ffreestanding", "-ffp-contract=off",
    "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv", "-DPUF_FREESTANDING", "--target=wasm32-freestanding",
]  # fmt: skip
EXPORTS = ("puf_net_tensors", "puf_net_tensor", "puf_net_params", "puf_net_carry", "puf_status_text", "puf_version")
THREAD_EXPORTS = ("puf_web_crew_create", "puf_crew_call", "puf_crew_work", "puf_crew_fail", "__stack_pointer")
STACK = 262144  # bytes; below the data, so that an overflow traps
# Of the module with threads, in bytes: what a page brings. The stack is that of each worker.
MEMORY = {"initial": 16 * 65536, "maximum": 1 << 30, "stack": STACK}
SECTION = "puffer"  # custom section with the catalogue


class BuildError(PufferError):
    """A module cannot be compiled, or is not there."""


def file_name(kind: Kind) -> str:
    """Of a module.

    Raises:
        BuildError: if there is no such kind.
    """
    if kind not in KINDS:
        raise BuildError(f"kind={kind!r} must be one of {', '.join(KINDS)}")
    return KINDS[kind]


def installed_environments() -> list[str]:
    """Names of the environments that every module holds, in the order of its table."""
    return sorted(path.stem for path in Path(pufferlib_envs.source_dir()).glob("*.c"))


def compile_module(folder: Path, kind: Kind, environments: Mapping[str, Path]) -> Path:
    """See `pufferlib_wasm.build`."""
    file = file_name(kind)
    if find_spec("ziglang") is None:
        raise MissingExtra("ziglang is not installed: pip install 'pufferlib-wasm[build]>=0.1,<0.2'")
    core, envs = Path(pufferlib_core.source_dir()), Path(pufferlib_envs.source_dir())
    installed = [envs / f"{name}.c" for name in installed_environments()]
    for name, path in environments.items():
        if not path.is_file() or not path.stem.isidentifier() or path.suffix != ".c":
            raise BuildError(
                f"{name}: {path} is no C file with the name of its table, <name>.c with `const void *<name>_table(void)`"
            )
    left_out = HOSTED | (set() if kind == "threads" else SHARED) | (set() if kind == "scalar" else {PLAIN})
    sources = [path for path in sorted(core.glob("*.c")) if path.name not in left_out]
    sources += [*installed, *environments.values(), *sorted((HERE / "csrc").glob("*.c"))]
    flags = [*FLAGS, *_machine(kind)]
    tables = [f"-DPUF_WEB_ENVIRONMENTS(X)={_each(installed)}", f"-DPUF_WEB_OWN(X)={_each(environments.values())}"]
    names = [*(path.stem for path in installed), *environments]
    told = catalogue_json(names, memory=MEMORY if kind == "threads" else None)
    flags += [f"-I{folder}" for folder in (pufferlib_core.include_dir(), core, envs, HERE / "csrc")]
    with tempfile.TemporaryDirectory(prefix="puffer-wasm-") as name:
        objects = [Path(name) / f"{number}-{path.stem}.o" for number, path in enumerate(sources)]

        def one(source: Path, target: Path) -> None:
            listed = tables if source.name == LISTS else []  # the others are in zig's cache, whatever the environments
            _zig(*flags, *listed, _effort(source), "-c", str(source), "-o", str(target))

        with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
            list(workers.map(one, sources, objects))
        linked = Path(name) / "linked.wasm"
        _zig(*_machine(kind), "--target=wasm32-freestanding", "-nostdlib", *_link(kind), *map(str, objects), "-o", str(linked))
        module = linked.read_bytes() + _section(SECTION, told.encode())
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / file
    out.write_bytes(module)
    return out


def _machine(kind: Kind) -> list[str]:
    """What the engine must know."""
    if kind == "scalar":
        return []
    simd = ["-msimd128", "-Dpuf_kernels_serial=puf_kernels_wasm"]
    return [*simd, "-matomics", "-mbulk-memory"] if kind == "threads" else simd


def _link(kind: Kind) -> list[str]:
    """Options of the linker."""
    options = ["--no-entry", "--strip-all", f"-z,stack-size={STACK}", *(f"--export={name}" for name in EXPORTS)]
    if kind == "threads":
        options += ["--import-memory", "--export-memory", "--shared-memory"]
        options += [f"--initial-memory={MEMORY['initial']}", f"--max-memory={MEMORY['maximum']}"]
        options += [f"--export={name}" for name in THREAD_EXPORTS]
    return [f"-Wl,{option}" for option in options]


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
