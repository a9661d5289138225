"""Compiles and runs the C tests: plain, under ASan + UBSan, ThreadSanitizer and valgrind, with clang, and for coverage.

valgrind runs the objects of `plain`, what is shipped; ThreadSanitizer only the programs that start threads.

Every `csrc/tests/*.c` of core, envs and wasm is one program (0 = passed), linked with all C files of core and envs, those of
wasm with its own as well. Objects are kept in build/c_tests under the hash of compiler, flags, source and all headers, so
unchanged files cost nothing. The mode `gcov` starts afresh each time, prints what these tests alone cover, and leaves pages in
build/c_tests/gcov/report.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "packages/pufferlib-core"
ENVS = ROOT / "packages/pufferlib-envs/src/pufferlib_envs/csrc"
WASM = ROOT / "packages/pufferlib-wasm/src/pufferlib_wasm/csrc"
TREES = (CORE / "src/pufferlib_core/csrc", ENVS, WASM)
ELSEWHERE = {WASM / "memory.c"}  # memory of a WebAssembly instance; the test brings its own
BUILD = ROOT / "build/c_tests"
INCLUDES = [f"-I{path}" for path in (TREES[0] / "include", *TREES, *(tree / "tests" for tree in TREES))]
TABLE = " ".join(f"X({path.stem})" for path in sorted(ENVS.glob("*.c")))
DEFINES = [f"-DPUF_WEB_ENVIRONMENTS(X)={TABLE}", "-DPUF_WEB_OWN(X)="]  # what web_vec.c lists
STRICT = ["-Wall", "-Wextra", "-Werror"]
SANITIZED = ["-std=c11", "-ffp-contract=off", "-pthread", "-O1", "-g", "-fno-omit-frame-pointer", *STRICT]
# Fair: a thread that waits for another one lets it go on.
MEMCHECK = ["valgrind", "--quiet", "--fair-sched=yes", "--error-exitcode=9", "--leak-check=full"]
COVERED = 88  # percent of the C lines that the C tests must reach; instruction sets that are not here count as missed
TIMEOUT = 480  # seconds for one program; ThreadSanitizer on a shared core is slow
REPORTS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclass(frozen=True)
class Mode:
    """One compiler with one set of flags."""

    name: str
    compiler: str
    flags: list[str]
    objects: str = ""  # mode whose objects it shares; its own unless told
    only: str = ""  # text of the programs that mean anything in this mode

    @property
    def folder(self) -> Path:
        """Where its objects are."""
        return BUILD / (self.objects or self.name)


def product_flags() -> list[str]:
    """The flags with which the extension is built, taken from build_ffi.py itself."""
    spec = importlib.util.spec_from_file_location("build_ffi", CORE / "build_ffi.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {CORE / 'build_ffi.py'}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flags: list[str] = module.flags()
    return flags


def modes() -> list[Mode]:
    """The modes this machine can run; gcc is needed, clang is used where it is installed."""
    product = [*product_flags(), "-g", *STRICT]
    undefined = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    found = [
        Mode("plain", "gcc", product),
        Mode("asan+ubsan", "gcc", [*SANITIZED, *undefined]),
        Mode("tsan", "gcc", [*SANITIZED, "-fsanitize=thread"], only="pthread_create("),
        Mode("gcov", "gcc", [*SANITIZED, "--coverage", "-fprofile-update=atomic"]),
    ]
    if shutil.which("valgrind"):
        found.append(Mode("valgrind", "gcc", product, objects="plain"))
    if shutil.which("clang"):  # plain only: Debian's clang 14 comes without sanitizer runtimes
        found.append(Mode("clang", "clang", product))
    return found


def run(command: list[str], timeout: int = 600) -> tuple[int, str]:
    """Exit status (124: out of time) and all output of a command."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            env=os.environ | REPORTS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        partial = error.output or b""  # bytes even with text=True
        text = partial if isinstance(partial, str) else partial.decode(errors="replace")
        return 124, f"{text}\nno end in {timeout} s"
    return done.returncode, done.stdout


def headers_digest() -> bytes:
    """Hash of everything that a C file may include."""
    digest = hashlib.sha256()
    for tree in TREES:
        for path in sorted([*tree.rglob("*.h"), *tree.rglob("*.inl")]):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.digest()


def compile_object(mode: Mode, source: Path, common: bytes) -> tuple[Path, str]:
    """The object of one source, from the cache where nothing changed; a text if it does not compile."""
    name = "_".join(source.relative_to(ROOT / "packages").with_suffix("").parts)
    key = hashlib.sha256(common + source.read_bytes()).hexdigest()[:24]
    target = mode.folder / f"{name}-{key}.o"
    if target.exists():
        return target, ""
    partial = target.with_suffix(f".{os.getpid()}.tmp.o")
    status, output = run([mode.compiler, *mode.flags, *INCLUDES, *DEFINES, "-c", str(source), "-o", str(partial)])
    if status:
        partial.unlink(missing_ok=True)
        return target, output or f"{mode.compiler} ended with status {status}"
    for old in target.parent.glob(f"{name}-{'?' * 24}.o"):
        old.unlink(missing_ok=True)
    partial.replace(target)
    return target, ""


def fixed_addresses() -> list[str]:
    """A prefix that switches address randomisation off: gcc 12's ThreadSanitizer cannot map its shadow otherwise."""
    command = ["setarch", platform.machine(), "-R"]
    return command if shutil.which("setarch") and run([*command, "true"])[0] == 0 else []


def link_and_run(mode: Mode, test: Path, objects: list[Path], own: Path, prefix: list[str]) -> tuple[str, bool, str]:
    """Links one test program and runs it."""
    label = f"{mode.name:<11}{test.relative_to(ROOT / 'packages').parts[0]}/{test.name}"
    program = own.with_suffix("")
    status, output = run([mode.compiler, *mode.flags, *map(str, [own, *objects]), "-lm", "-o", str(program)])
    if status == 0:
        wrap = {"tsan": prefix, "valgrind": MEMCHECK}.get(mode.name, [])
        brief = ["brief"] if mode.name == "valgrind" else []  # each program takes it or leaves it
        status, output = run([*wrap, str(program), *brief], timeout=TIMEOUT)
    program.unlink(missing_ok=True)
    return label, status == 0, output if status == 0 else f"{output}\nexit status {status}"


def coverage_report(folder: Path) -> int:
    """Prints what the programs run in a folder have reached; 1 if that is below the floor."""
    (folder / "report").mkdir()
    command = [sys.executable, "-m", "gcovr", "--root", str(ROOT / "packages"), "--exclude", ".*/tests/.*"]
    command += ["--merge-mode-functions", "separate", "--fail-under-line", str(COVERED), "--print-summary", "--txt", "-"]
    status, output = run([*command, "--html-details", str(folder / "report/index.html"), str(folder)])
    print(output.rstrip())
    return int(status != 0)


def run_mode(mode: Mode, tests: list[Path], workers: ThreadPoolExecutor, *, verbose: bool) -> int:
    """Compiles everything in one mode and runs each test; returns the number of failures."""
    tests = [test for test in tests if mode.only in test.read_text()]
    if mode.name == "gcov":
        shutil.rmtree(mode.folder, ignore_errors=True)  # counters of earlier runs would add up
    mode.folder.mkdir(parents=True, exist_ok=True)
    version = run([mode.compiler, "--version"])[1]
    common = repr((version, mode.flags, DEFINES, [str(Path(flag[2:]).relative_to(ROOT)) for flag in INCLUDES])).encode()
    common += headers_digest()
    library = [path for tree in TREES for path in sorted(tree.glob("*.c")) if path not in ELSEWHERE]
    sources = [*library, *tests]
    results = list(workers.map(lambda source: compile_object(mode, source, common), sources))
    broken = [(source, text) for source, (_, text) in zip(sources, results, strict=True) if text]
    for source, text in broken:
        print(f"FAIL  {mode.name:<11}{source.relative_to(ROOT)} does not compile\n{text}")
    if broken:
        return len(broken)
    objects = [target for target, _ in results]
    shared, own = objects[: len(library)], objects[len(library) :]
    lower = [target for source, target in zip(library, shared, strict=True) if source.parent != WASM]
    prefix = fixed_addresses()
    failures = 0
    for label, passed, output in workers.map(
        lambda pair: link_and_run(mode, pair[0], shared if WASM in pair[0].parents else lower, pair[1], prefix),
        zip(tests, own, strict=True),
    ):
        failures += not passed
        print(f"{'ok  ' if passed else 'FAIL'}  {label}", flush=True)
        if output.strip() and (verbose or not passed):
            print(output.rstrip())
    return failures + (coverage_report(mode.folder) if mode.name == "gcov" else 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", action="append", help="plain, asan+ubsan, tsan, gcov, valgrind or clang; all when not given")
    parser.add_argument("--only", default="", help="tests whose file name contains this text")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the output of tests that pass")
    options = parser.parse_args()
    if not shutil.which("gcc"):
        print("gcc is needed: apt-get install gcc libc6-dev")
        return 1
    known = modes()
    chosen = [mode for mode in known if not options.mode or mode.name in options.mode]
    tests = [path for tree in TREES for path in sorted((tree / "tests").glob("*.c")) if options.only in path.name]
    if not tests or len(chosen) < len(set(options.mode or ())):
        print(f"no C test or mode of that name; modes here: {', '.join(mode.name for mode in known)}")
        return 1
    with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
        failures = sum(run_mode(mode, tests, workers, verbose=options.verbose) for mode in chosen)
    if "clang" not in [mode.name for mode in known]:
        print("note: clang is not installed, so its mode was not run")
    print(f"{len(tests)} tests in {len(chosen)} modes, {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
