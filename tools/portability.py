"""Compiles the freestanding part of the core for WebAssembly and Cortex-M3, and runs it outside CPython.

Everything but crew.c, pool.c and park.c, which are for threads, is compiled as C99 without a C library; the linked modules must
have no undefined symbol. Under node, random numbers, elementary functions, advantages and 1000 CartPole steps must equal
CPython's byte for byte.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from pufferlib_core import include_dir, make_vec, source_dir
from pufferlib_core.native import check, ffi, gae, lib

ROOT = Path(__file__).resolve().parent.parent
ENVS = ROOT / "packages/pufferlib-envs/src/pufferlib_envs/csrc"
THREADED = {"crew.c", "pool.c", "park.c"}
FLAGS = [
    "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-c11-extensions", "-Wno-pass-failed", "-ffreestanding",
    "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv", "-DPUF_FREESTANDING",
]  # fmt: skip
TARGETS = {
    "wasm32": ["--target=wasm32-freestanding", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all"],
    "wasm32 simd128": ["--target=wasm32-freestanding", "-msimd128", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all"],
    # No -nostdlib: software floating point comes from the compiler's own runtime library, not from a C library.
    "cortex-m3": ["--target=thumb-freestanding-eabi", "-mcpu=cortex_m3"],
}
NODE = """
const fs = require("fs");
const compiled = new WebAssembly.Module(fs.readFileSync(process.argv[2]));
if (WebAssembly.Module.imports(compiled).length) { console.error("the module imports something"); process.exit(1); }
const e = new WebAssembly.Instance(compiled, {}).exports;
const count = e.probe();
if (count < 0) { console.error("probe: " + count); process.exit(1); }
fs.writeFileSync(process.argv[3], Buffer.from(e.memory.buffer, e.result_at(), 4 * count));
"""


def compile_for(target: str, folder: Path) -> Path:
    """The linked probe; the linker refuses undefined symbols."""
    core = [str(path) for path in sorted(Path(source_dir()).glob("*.c")) if path.name not in THREADED]
    environments = [str(path) for path in sorted(ENVS.glob("*.c"))]
    out = folder / f"{target.replace(' ', '-')}.bin"
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *TARGETS[target], f"-I{include_dir()}", f"-I{source_dir()}",
               f"-I{ENVS}", str(ROOT / "tools/portability/probe.c"), *core, *environments, "-o", str(out)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{target}: does not build\n{done.stderr[-4000:]}")
    return out


def expected() -> bytes:
    """What CPython computes for probe.c."""
    words = np.empty(1000, np.uint32)
    check(lib.puf_rng_fill(7, 3, 5, ffi.from_buffer("uint32_t[]", words), 500), "rng")
    parts = [words.tobytes()]
    i = np.arange(1000, dtype=np.float32)
    for name in ("sqrt", "sin", "cos", "exp", "log", "tanh"):
        x = np.float32(0.001) + np.float32(0.37) * i if name in ("sqrt", "log") else np.float32(-20) + np.float32(0.0401) * i
        y = np.empty_like(x)
        check(lib.puf_math_map(name.encode(), ffi.from_buffer("float[]", x), ffi.from_buffer("float[]", y), 1000), name)
        parts.append(y.tobytes())
    k = np.arange(16 * 12).reshape(16, 12)
    planes = [np.float32(scale) * (k % period).astype(np.float32) for scale, period in ((0.01, 37), (0.02, 23), (0.03, 19))]
    parts.append(gae(*planes, k % 17 == 0, k % 13 == 0, gamma=0.97, lam=0.9).tobytes())
    vec = make_vec("cartpole", num_envs=8, seed=11)
    vec.reset()
    env = np.arange(8)
    parts += [vec.step(((t * 7 + env * 3 + t // 5) % 2).astype(np.int32)).obs.tobytes() for t in range(1000)]
    return b"".join(parts)


def main() -> int:
    """Builds for every target, then compares what runs here."""
    node = shutil.which("node")
    wanted = expected()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target in TARGETS:
            built = compile_for(target, folder)
            print(f"ok    {target}: {built.stat().st_size:,} bytes, no undefined symbol")
            if not target.startswith("wasm32"):
                continue
            if node is None:
                raise SystemExit("node is not installed: apt-get install nodejs")
            script, got = folder / "run.cjs", folder / "got"
            script.write_text(NODE)
            subprocess.run([node, str(script), str(built), str(got)], check=True)
            if got.read_bytes() != wanted:
                theirs, ours = np.frombuffer(got.read_bytes(), np.uint32), np.frombuffer(wanted, np.uint32)
                at = np.flatnonzero(theirs != ours)[:5] if len(theirs) == len(ours) else [len(theirs), len(ours)]
                raise SystemExit(f"{target}: differs from CPython at {at}")
            print(f"ok    {target}: {len(wanted):,} bytes under node equal CPython's")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
