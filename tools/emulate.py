"""Builds the C tests for other processors and runs them under qemu: aarch64 (NEON), and x86-64 without AVX.

The same programs as tools/c_tests.py, and the golden trajectories of every environment, which must come out byte for byte.
For macOS and Windows the C core is built and linked, which proves no more than that it builds.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "packages/pufferlib-core/src/pufferlib_core/csrc"
ENVS = ROOT / "packages/pufferlib-envs/src/pufferlib_envs/csrc"
PROGRAM = ROOT / "tools/portability/golden.c"
GOLDEN = ROOT / "packages/pufferlib-envs/golden"
FLAGS = [
    "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fno-math-errno",
    "-fno-trapping-math", "-fno-wrapv", *(f"-I{path}" for path in (CORE / "include", CORE, CORE / "tests", ENVS)),
]  # fmt: skip
UNRUN = ["-O0"]  # after FLAGS: what is only built needs no optimisation
ZIG = [sys.executable, "-m", "ziglang", "cc", "-Wno-pass-failed"]
TARGETS = {  # name: (compiler, emulator, the instruction set that must be in use)
    "aarch64": ([*ZIG, "-target", "aarch64-linux-musl"], ["qemu-aarch64"], "neon"),
    "x86-64 without AVX": (["gcc", "-static", "-pthread"], ["qemu-x86_64", "-cpu", "qemu64"], "serial"),
}

LINKED = {  # built and linked, not run: there is nothing to run them on
    "macOS on aarch64": [*ZIG, "-target", "aarch64-macos"],
    "macOS on x86-64": [*ZIG, "-target", "x86_64-macos"],
    "Windows on x86-64": [*ZIG, "-target", "x86_64-windows-gnu"],
}


def compile_objects(compiler: list[str], folder: Path, *more: str) -> list[str]:
    """Every C file of core and environments."""

    def one(source: Path) -> str:
        out = folder / f"{source.stem}.o"
        subprocess.run([*compiler, *FLAGS, *more, "-c", source, "-o", out], check=True)
        return str(out)

    with ThreadPoolExecutor(2) as workers:
        return list(workers.map(one, [*CORE.glob("*.c"), *ENVS.glob("*.c")]))


def link(compiler: list[str], source: Path, objects: list[str], folder: Path, *more: str) -> Path:
    """One program."""
    program = folder / source.stem
    subprocess.run([*compiler, *FLAGS, *more, str(source), *objects, "-lm", "-o", str(program)], check=True)
    return program


def build_and_run(compiler: list[str], emulator: list[str], source: Path, objects: list[str], folder: Path, *more: str) -> str:
    """Output of one program under the emulator; fails if it does not end with 0."""
    program = link(compiler, source, objects, folder, *more)
    return subprocess.run([*emulator, str(program)], check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout


def environments(names: Iterable[str]) -> str:
    """The flag that gives golden.c its list."""
    return f"-DENVIRONMENTS={' '.join(f'X({name})' for name in names)}"


def check(name: str) -> None:
    """All programs for one target."""
    compiler, emulator, isa = TARGETS[name]
    golden = {path.stem: json.loads(path.read_text())["digests"] for path in sorted(GOLDEN.glob("*.json"))}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        objects = compile_objects(compiler, folder)
        names = " ".join(f"X({env})" for env in golden)
        text = build_and_run(
            compiler, emulator, ROOT / "tools/portability/golden.c", objects, folder, f"-DENVIRONMENTS={names}"
        )
        first, *lines = text.splitlines()
        if first != f"isa {isa}":
            raise SystemExit(f"{name}: {first}, expected {isa}")
        found = {line.split()[0]: line.split()[1:] for line in lines}
        for env, digests in golden.items():
            if found.get(env) != digests:
                raise SystemExit(f"{name}: {env} leaves its golden trajectory")
        print(f"ok    {name}: {first}, {len(found)} golden trajectories", flush=True)
        for source in sorted([*(CORE / "tests").glob("*.c"), *(ENVS / "tests").glob("*.c")]):
            build_and_run(compiler, emulator, source, objects, folder)
            print(f"ok    {name}: {source.name}", flush=True)


def main() -> int:
    for _, emulator, _ in TARGETS.values():
        if shutil.which(emulator[0]) is None:
            print(f"{emulator[0]} is not installed: apt-get install qemu-user")
            return 1
    for name in TARGETS:
        check(name)
    for name, compiler in LINKED.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            names = sorted(path.stem for path in GOLDEN.glob("*.json"))
            link(compiler, PROGRAM, compile_objects(compiler, folder, *UNRUN), folder, environments(names), *UNRUN)
        print(f"ok    {name}: builds and links", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
