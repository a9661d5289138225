"""Runs every gate and sums up: `uv run --group dev tools/check.py [gate ...]`.

Gates begin in order, two at a time where there are two processors; those that measure run alone. All run even after a
failure, so that one run shows everything that is wrong; `--fail-fast` begins no other after the first.
The exit status is 0 only if every gate passed. What a gate prints goes to build/check/NAME.log and, if it fails, its end is
shown as well; `--verbose` passes everything on as it comes. `--full` trains every learning test on three seeds and, when all
gates have passed, measures what the documentation shows (`--group docs` brings what draws it).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
PYTEST = [PYTHON, "-m", "pytest"]
LOGS = ROOT / "build/check"
COVERAGE = ROOT / "build/coverage"
SHOWN = 80  # lines of a gate that failed
TIMEOUT = 1500  # seconds for one gate; all of them together stay below 25 minutes on two cores
LANES = min(2, os.cpu_count() or 1)  # gates at once; most keep one processor busy
FUZZING = 12  # seconds for each target
# The gate `serial` runs the tests of core and envs without vectors, but for these; a new file belongs to it until named here.
UNTOUCHED = {  # by what the kernels of csrc/kernels.h compute, or compared with the same kernels only
    "adapters", "arguments", "batched", "checkpoint", "config", "deprecation", "emulation", "math", "parts", "policies",
    "process", "python_envs", "python_masks", "roles", "spaces", "states", "turns",
}  # fmt: skip
EVERY_ISA = {"dist", "encoders_native", "native_returns"}  # take every instruction set in turn, in the gate `tests`


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One check: passes if its command ends with status 0."""

    name: str
    about: str
    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    closing: bool = False  # repeat the last line of the output in the summary
    after: tuple[str, ...] = ()  # gates that must have ended before
    alone: bool = False  # nothing else runs meanwhile


@dataclass(frozen=True)
class Result:
    """How a gate ended."""

    gate: Gate
    state: str
    seconds: float
    output: str

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "")


def tool(name: str, *arguments: str) -> list[str]:
    """Command of one of our own scripts."""
    return [PYTHON, str(ROOT / "tools" / f"{name}.py"), *arguments]


def benchmark(name: str, *arguments: str) -> list[str]:
    """Command of one of the benchmarks."""
    return [PYTHON, str(ROOT / "benchmarks" / f"{name}.py"), *arguments]


def serial_tests() -> list[str]:
    """Test files that the gate `serial` runs."""
    found = sorted(path for name in ("core", "envs") for path in ROOT.glob(f"packages/pufferlib-{name}/tests/test_*.py"))
    left_out = UNTOUCHED | EVERY_ISA
    return [str(path.relative_to(ROOT)) for path in found if path.stem.removeprefix("test_") not in left_out]


def gates(seeds: int) -> list[Gate]:
    """Every gate, those that need nothing built first, then the longest first: both lanes end together."""
    coverage = ["--cov", "--cov-report=term"]
    uv = os.environ.get("UV", "uv")
    peers = ["--group", "dev", "--group", "peers"]
    own = {"UV_PROJECT_ENVIRONMENT": "build/peers"}
    return [
        Gate(name="lock", about="uv.lock is up to date", command=[uv, "lock", "--check"]),
        # It builds the packages in place: others must not be using them.
        Gate(name="install", about="an environment for the peers", command=[uv, "sync", *peers], env=own, alone=True),
        Gate(name="lint", about="ruff check", command=["ruff", "check", "."]),
        Gate(name="format", about="ruff format", command=["ruff", "format", "--check", "."]),
        Gate(name="types", about="mypy --strict", command=["mypy"]),
        Gate(name="layers", about="import-linter", command=["lint-imports"]),
        Gate(name="sizes", about="size guide (report only)", command=tool("check_sizes")),
        Gate(name="audit", about="licences and known vulnerabilities of what is installed", command=tool("audit")),
        Gate(
            name="tests",
            about="pytest with coverage",
            command=[*PYTEST, *coverage, f"--seeds={seeds}"],
            env={"COVERAGE_FILE": str(COVERAGE / "tests")},
            closing=True,
        ),
        Gate(
            name="peers",
            about="torch, jax and onnxruntime back ends, other frameworks as clients, in an environment of their own",
            command=[uv, "run", "--no-sync", *peers, "pytest", "tests/peers", *coverage],
            env=own | {"COVERAGE_FILE": str(COVERAGE / "peers")},
            closing=True,
            after=("install",),
        ),
        Gate(name="c", about="C tests: plain, ASan + UBSan, TSan, coverage, valgrind, clang", command=tool("c_tests")),
        Gate(name="emulate", about="aarch64 (NEON) and x86-64 without AVX under qemu", command=tool("emulate")),
        Gate(
            name="serial",
            about="tests that the kernels reach, with PUFFER_ISA=serial",
            command=[*PYTEST, *serial_tests()],
            env={"PUFFER_ISA": "serial"},
            closing=True,
        ),
        Gate(name="fuzz", about="foreign configs, manifests, tensors and spaces", command=tool("fuzz", f"--seconds={FUZZING}")),
        Gate(name="wheels", about="wheels from sdists outside the workspace", command=tool("check_wheels")),
        Gate(
            name="wasm",
            about="WebAssembly: modules, JavaScript API, the same runs as CPython",
            command=tool("check_wasm", *coverage),
            env={"COVERAGE_FILE": str(COVERAGE / "wasm")},
            closing=True,
            after=("install",),
        ),
        Gate(
            name="playground",
            about="the page that trains, in headless Chromium",
            command=tool("check_playground"),
            closing=True,
            after=("wasm",),  # which builds the modules
        ),
        Gate(name="docs", about="code and links of the documentation", command=tool("check_docs")),
        Gate(
            name="portability",
            about="other targets",
            command=tool("portability"),
        ),
        Gate(
            name="embedded",
            about="policies as C, under QEMU on Cortex-M0, M3, M4F, M7 and RV32; learning on M4F",
            command=tool("embedded"),
            closing=True,
        ),
        Gate(
            name="proofs",
            about="what Frama-C's EVA proves of exported policies",
            command=tool("check_proofs"),
            closing=True,
        ),
        Gate(
            name="site",
            about="mkdocs build --strict",
            command=["mkdocs", "build", "--strict", "--quiet"],
            env={"NO_MKDOCS_2_WARNING": "1"},
        ),
        Gate(name="golden", about="golden trajectories of the environments", command=tool("golden")),
        Gate(name="pages", about="pages of the environments are up to date", command=benchmark("environments", "--check")),
        Gate(name="coverage", about="coverage floors", command=tool("check_coverage"), after=("tests", "peers", "wasm")),
        Gate(
            name="speed",
            about="ratios against those stored for this class of machine",
            command=benchmark("regression"),
            alone=True,
        ),
    ]


def measurements() -> list[Gate]:
    """What `--full` measures at its end, for the documentation."""
    return [
        Gate(
            name="scores", about="scores, curves and speeds of the environments", command=benchmark("environments"), alone=True
        ),
        Gate(name="figures", about="speeds of this machine", command=benchmark("run"), alone=True),
    ]


def environment(gate: Gate) -> dict[str, str]:
    """The caller's variables without leftovers of a forced setting, and the tools of this interpreter first on PATH.

    Python keeps its bytecode: without, each process that imports torch would compile it again, which takes 20 seconds.
    """
    dropped = {"PYTHONDONTWRITEBYTECODE", *(key for key in os.environ if key.startswith("PUFFER_"))}
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return kept | {"PATH": path, "PYTHONUNBUFFERED": "1", **gate.env}


def kill(process: subprocess.Popen[str]) -> None:
    """Ends the gate's whole process group, or the process alone where there are no groups."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


@dataclass
class Runner:
    """Runs gates, LANES at a time, and keeps how they ended."""

    verbose: bool
    fail_fast: bool
    results: list[Result] = field(default_factory=list)
    _running: dict[str, Gate] = field(default_factory=dict)
    _processes: set[subprocess.Popen[str]] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def all(self, gates: list[Gate]) -> None:
        """Runs them all."""
        waiting = list(gates)
        try:
            with self._changed:
                while waiting and not (self.fail_fast and any(result.state == "FAIL" for result in self.results)):
                    gate = next((gate for gate in waiting if self._may_begin(gate, waiting)), None)
                    if gate is None:
                        self._changed.wait()
                        continue
                    waiting.remove(gate)
                    self._running[gate.name] = gate
                    threading.Thread(target=self._lane, args=(gate,), daemon=True).start()
                while self._running:
                    self._changed.wait()
        except KeyboardInterrupt:
            for process in list(self._processes):
                kill(process)
            raise

    def _may_begin(self, gate: Gate, waiting: list[Gate]) -> bool:
        busy = self._running.keys() | {other.name for other in waiting}
        if busy & set(gate.after) or any(other.alone for other in self._running.values()):
            return False
        if gate.alone:  # in its turn: those before it have begun, and ended
            return not self._running and waiting[0] is gate
        before = waiting[: waiting.index(gate)]
        return len(self._running) < LANES and not any(other.alone for other in before)

    def _lane(self, gate: Gate) -> None:
        try:
            result = run(gate, verbose=self.verbose, processes=self._processes)
        except Exception as error:  # else the others would wait for it for ever
            result = report(Result(gate, "FAIL", 0.0, repr(error)), shown=True)
        with self._changed:
            self.results.append(result)
            del self._running[gate.name]
            self._changed.notify()


def run(gate: Gate, *, verbose: bool, processes: set[subprocess.Popen[str]]) -> Result:
    """Runs one gate and keeps what it prints; passes it on as it comes if `verbose`."""
    print(f"... {gate.name}: {gate.about}", flush=True)
    start = time.monotonic()
    env = environment(gate)
    program = shutil.which(gate.command[0], path=env["PATH"])
    if program is None:
        missing = f"{gate.command[0]} is not installed; run this through `uv run --group dev tools/check.py`"
        return report(Result(gate, "FAIL", 0.0, missing), shown=not verbose)
    process = subprocess.Popen(
        [program, *gate.command[1:]],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    processes.add(process)
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        kill(process)

    timer = threading.Timer(TIMEOUT, expire)
    timer.start()
    output: list[str] = []
    try:
        assert process.stdout is not None
        with (LOGS / f"{gate.name}.log").open("w") as log:
            for line in process.stdout:
                output.append(line)
                log.write(line)
                if verbose:
                    print(line, end="", flush=True)
        status = process.wait()
    finally:
        timer.cancel()
        processes.discard(process)
    if expired.is_set():
        output.append(f"{gate.name}: no end in {TIMEOUT} s\n")
    state = "ok" if status == 0 else "FAIL"
    return report(Result(gate, state, time.monotonic() - start, "".join(output)), shown=not verbose)


def report(result: Result, *, shown: bool) -> Result:
    """Prints how a gate ended and, if it failed and that is to be `shown`, the end of its output."""
    print(f"{result.state:<4} {result.gate.name} {result.seconds:.1f} s", flush=True)
    if result.state == "FAIL" and shown:
        print("\n".join(f"     {line}" for line in result.output.splitlines()[-SHOWN:]), flush=True)
    return result


def summary(results: list[Result]) -> bool:
    """Prints one line for each gate and pytest's own closing lines; True if nothing failed."""
    print("\n=== summary ===")
    for result in results:
        print(f"{result.state:<7} {result.gate.name:<12} {result.seconds:7.1f} s  {result.gate.about}")
    print(f"total {sum(result.seconds for result in results):.0f} s of gates")
    for result in reversed(results):  # the full run of the tests last
        if result.gate.closing and result.last_line:
            print(f"{result.gate.name}:\n{result.last_line}")
    return all(result.state != "FAIL" for result in results)


def main() -> int:
    names = [gate.name for gate in gates(1)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gate", nargs="*", help=f"run only these: {', '.join(names)}")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first gate that fails")
    parser.add_argument("--verbose", action="store_true", help="pass on everything that the gates print")
    parser.add_argument("--full", action="store_true", help="three seeds, and measurements for the documentation")
    options = parser.parse_args()
    unknown = sorted(set(options.gate) - set(names))
    if unknown:
        parser.error(f"no such gate: {', '.join(unknown)}; known: {', '.join(names)}")
    chosen = [gate for gate in gates(3 if options.full else 1) if not options.gate or gate.name in options.gate]
    if "tests" in (gate.name for gate in chosen):
        shutil.rmtree(COVERAGE, ignore_errors=True)  # never judge an old measurement
    for folder in (LOGS, COVERAGE):
        folder.mkdir(parents=True, exist_ok=True)
    runner = Runner(options.verbose, options.fail_fast)
    runner.all(chosen)
    runner.results.sort(key=lambda result: names.index(result.gate.name))
    if options.full and all(result.state == "ok" for result in runner.results):
        runner.all(measurements())
    return 0 if summary(runner.results) else 1


if __name__ == "__main__":
    sys.exit(main())
