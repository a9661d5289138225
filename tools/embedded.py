"""Exports policies as C for every target, runs them under QEMU, and shows what they take.

CartPole (choices, a normaliser), Pendulum (a number, clipped) and a GRU over 200 steps, in float32 and in integers; the first
two on some targets with their environment, for an episode. Then the GRU is exported with a tanh that is wrong by 1e-5, and in
integers with roundings that go down, which its golden vectors must find on every target. And PPO learns CartPole on a
Cortex-M4F, where its parameters must come out as on the host.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pufferlib_envs
from pufferlib_core import include_dir, source_dir, train
from pufferlib_core.errors import RunError
from pufferlib_embedded import export as exporting
from pufferlib_embedded.export import PRECISIONS, export
from pufferlib_embedded.model import Model
from pufferlib_embedded.model8 import Model8
from pufferlib_embedded.sources import TEMPLATES
from pufferlib_embedded.targets import BARE, FLAGS, TARGETS, Target, port, reported, run, tools

POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "cartpole 64x64": ("cartpole", {"train.timesteps": 40_000, "policy.normalize_obs": True}),
    "pendulum 64x64": ("pendulum", {"train.timesteps": 40_000, "policy.normalize_obs": True}),
    "cartpole gru": (
        "cartpole",
        {"train.timesteps": 20_000, "cartpole.velocities": False, "policy.hidden": [32], "policy.core": "gru",
         "policy.core_size": 32, "ppo.minibatch": 512},
    ),
}  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "packages/pufferlib-embedded/examples"
LEARN = EXAMPLES / "learn/learn.c"
BOARDS = (("Cortex-M0+ of an RP2040", "cortex-m0", "-mcpu=cortex-m0plus"), ("RV32IMC of an ESP32-C3", "rv32", "-march=rv32imc"))
LEARNS_ON = "cortex-m4f"
HOSTED = {"crew.c", "pool.c", "park.c"}  # threads
# Episodes with the environment: of a number on every kind of processor, and one of 500 steps.
CLOSED_LOOPS = {("cartpole 64x64", "cortex-m4f"), *(("pendulum 64x64", name) for name in ("cortex-m0", "cortex-m7", "rv32"))}
FAULTS = (
    ("lean.c", "return puf_tanh(x);", "return puf_tanh(x) * 1.00001f;"),
    ("lean8.c", "x += (int32_t)1 << (bits - 1);", ""),
)
FEW = 64  # rows of calibration where nothing but the fault matters
COLUMNS = ("flash_bytes", "ram_bytes", "ram_stack_bytes", "macs", "instructions_measured", "begin_instructions", "slices",
           "slice_instructions", "golden_rows", "golden_worst")  # fmt: skip


def checkpoint(name: str, folder: Path) -> Path:
    """A policy that has been trained a little."""
    env, options = POLICIES[name]
    return train(env, options=options, out=str(folder / "runs"), seed=1).checkpoint


def row(name: str, target: str, report: dict[str, Any]) -> str:
    """Of the table in docs/how-to/embedded.md."""
    cells = [report.get(column) for column in COLUMNS]
    words = ["-" if x is None else (f"{x:.1e}" if isinstance(x, float) else f"{x:,}") for x in cells]
    return f"| {name} | {report['precision']} | {target} | {' | '.join(words)} |"


def lost(name: str, found: dict[str, Any]) -> str:
    """What integers cost a policy."""
    held_out, played = found["held_out"], found["returns"]
    return (
        f"{name} in int8: mean return {played['int8']:.1f}, in float32 {played['float32']:.1f}; KL {held_out['kl_mean']:.1e} "
        f"in the mean, {held_out['kl_max']:.1e} at most"
    )


def learns(target: Target, folder: Path) -> dict[str, int]:
    """What the program of examples/learn reports, which fails unless the return doubles."""
    core, envs = Path(source_dir()), Path(pufferlib_envs.source_dir())
    sources = [LEARN, *(path for path in sorted(core.glob("*.c")) if path.name not in HOSTED), envs / "cartpole.c"]
    found = tools(target)
    out = str(folder / f"learn-{target.name}")
    command = [
        found["cc"], *FLAGS, *BARE, "-fno-math-errno", "-Wno-pedantic", *target.flags, f"-I{include_dir()}",
        *(f"-I{path}" for path in (core, envs, TEMPLATES)), *map(str, sources),
        *port(target, str(TEMPLATES), target.machine_flash, target.machine_ram), "-o", out,
    ]  # fmt: skip
    run(command, folder)
    report = reported(target, out, folder)
    if target.machine:
        text, data, bss = map(int, run([found["size"], out], folder).splitlines()[1].split()[:3])
        report |= {"flash": text + data, "ram": data + bss}
    return report


def learning(folder: Path) -> str:
    """Learns on the host and on the device.

    Raises:
        SystemExit: if a number differs.
    """
    host, device = (learns(TARGETS[name], folder) for name in ("host", LEARNS_ON))
    differ = [name for name in ("steps", "return_before_e3", "return_after_e3", "checksum") if host[name] != device[name]]
    if differ:
        raise SystemExit(f"learning on {LEARNS_ON}: {', '.join(differ)} differ from the host's: {host} {device}")
    return f"learning on {LEARNS_ON}: " + ", ".join(f"{name} {value:,}" for name, value in device.items())


def boards(folder: Path) -> None:
    """Compiles what the projects in examples/boards have in common, with policies exported for their processors."""
    for name, target, flag in BOARDS:
        device = TARGETS[target]
        flags = [*(word for word in device.flags if not word.startswith(flag.partition("=")[0])), flag]
        sources = [EXAMPLES / "boards/control.c", *(folder / f"cartpole-64x64-{target}-float32/src").glob("*.c")]
        include = [f"-I{EXAMPLES / 'boards'}", f"-I{folder / f'cartpole-64x64-{target}-float32/src'}"]
        for source in sources:
            run(
                [tools(device)["cc"], *FLAGS, *BARE, *flags, *include, "-c", str(source), "-o", str(folder / "board.o")], folder
            )
        print(f"examples/boards/control.c and the policy compile for the {name}")


def finds_faults(path: Path, folder: Path, pool: ThreadPoolExecutor) -> list[str]:
    """Targets and precisions whose golden vectors do not find what FAULTS do to the C."""
    files = exporting.core_files
    texts = files([*Model.roots, *Model8.roots])
    for name, right, wrong in FAULTS:
        if right not in texts[name]:
            raise SystemExit(f"the line of {name} that this tool breaks is not there any more: {right}")
        texts[name] = texts[name].replace(right, wrong)

    def unseen(job: tuple[str, str]) -> bool:
        target, precision = job
        try:
            export(path, folder / f"faulty-{target}-{precision}", target=target, precision=precision, calibration_steps=FEW)
        except RunError as error:
            if "failed" not in str(error):
                raise
            return False
        return True

    jobs = [(target, precision) for target in TARGETS for precision in PRECISIONS]
    exporting.core_files = lambda roots: {name: texts[name] for name in files(roots)}
    try:
        return [" ".join(job) for job, missed in zip(jobs, pool.map(unseen, jobs), strict=True) if missed]
    finally:
        exporting.core_files = files


def main() -> int:
    began, inexact = time.monotonic(), []
    exporting.Model8 = functools.cache(Model8)  # targets share what was calibrated
    with tempfile.TemporaryDirectory(prefix="puffer-embedded-") as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        paths = {policy: checkpoint(policy, folder) for policy in POLICIES}
        jobs = [(policy, target, precision) for precision in PRECISIONS for policy in POLICIES for target in TARGETS]
        learnt = pool.submit(learning, folder)
        work = [
            pool.submit(
                export, paths[p], folder / f"{p.replace(' ', '-')}-{t}-{of}", target=t, precision=of,
                closed_loop=(p, t) in CLOSED_LOOPS,
            )
            for p, t, of in jobs
        ]  # fmt: skip
        print(f"| policy | precision | target | {' | '.join(COLUMNS)} |")
        for (policy, target, precision), done in zip(jobs, work, strict=True):
            report = done.result()
            inexact += [f"{policy} on {target}"] * (target != "host" and report["golden_worst"] > 0)
            print(row(policy, target, report), flush=True)
            if precision == "int8" and target == "host":
                print(lost(policy, report["int8"]))
        print(learnt.result())
        boards(folder)
        unseen = finds_faults(paths["cartpole gru"], folder, pool)
    print(
        f"{len(jobs)} exports repeated their golden vectors, {len(PRECISIONS) * len(CLOSED_LOOPS)} an episode with the "
        f"environment, in {time.monotonic() - began:.0f} s"
    )
    if inexact:
        print(f"FAIL  golden vectors are not exact: {', '.join(inexact)}")
    if unseen:
        print(f"FAIL  a fault was not found on {', '.join(unseen)}")
    return int(bool(unseen or inexact))


if __name__ == "__main__":
    sys.exit(main())
