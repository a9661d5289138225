"""Writes the figures of one results file into README.md and docs/explanation/performance.md, between their `figures` marks.

`uv run python benchmarks/publish.py benchmarks/results/<machine>.json`; benchmarks/run.py does it at its end.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Results = list[dict[str, Any]]


def find(results: Results, name: str, **settings: Any) -> float:
    """Value of the last result of this name with these settings."""
    found = [r["value"] for r in results if r["name"] == name and all(r["settings"].get(k) == v for k, v in settings.items())]
    return float(found[-1])


def millions(value: float) -> str:
    """A rate in millions, three digits."""
    return f"{value / 1e6:,.{0 if value >= 1e8 else 1 if value >= 1e7 else 2}f} M"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], *, text: bool = False) -> str:
    """A markdown table; every column but the first is numbers, to the right, unless all of it is text."""
    lines = [head, ("---", *["---" if text else "---:"] * (len(head) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def by_cores(title: str, names: dict[str, str], results: Results, cores: int, **settings: Any) -> str:
    """A table of rates on one core and on all of them; names: results and what they are called."""
    rows = [(what, *(millions(find(results, name, threads=n, **settings)) for n in (1, cores))) for name, what in names.items()]
    return table((title, "1 core", f"{cores} cores"), rows)


def main_figures(results: Results, cores: int) -> str:
    """What users do, on one core and on all of them."""
    names = {
        "sim.step": "CartPole, one `VecEnv.step` a step, steps/s",
        "sim.run": "CartPole, 32 steps a call into a segment, steps/s",
        "infer.sim": "CartPole with a 64x64 policy that samples, steps/s",
        "infer.forward": "64x64 network, forward, samples/s",
        "train.ppo_1_epochs": "PPO end to end, 1 epoch, steps/s",
        "train.ppo_4_epochs": "PPO end to end, 4 epochs, steps/s",
    }
    return by_cores("4096 environments, float32", names, results, cores, isa=best_isa(results))


def best_isa(results: Results) -> str:
    """The instruction set that was not forced."""
    return str(next(r["settings"]["isa"] for r in results if r["name"] == "sim.step"))


def start_figures(results: Results) -> str:
    """Solving and starting."""
    solved = [r["value"] for r in results if r["name"] == "solve.cartpole"]
    memory = find(results, "start.import_memory") / 1e6
    gae = [find(results, "kernels.gae_over_memcpy", t=128), find(results, "kernels.gae", t=2048)]
    isa = best_isa(results)
    over = find(results, "sim.step", threads=1, isa=isa) / find(results, "sim.gymnasium")
    rows = [
        (f"CartPole preset until 100 episodes average 475, seeds 0 to {len(solved) - 1}",
         f"{min(solved):.2f} to {max(solved):.2f} s of training"),
        ("`puffer train cartpole`, process start to exit", f"{find(results, 'start.train_cartpole'):.2f} s"),
        ("`import pufferlib_core` / `puffer --help`",
         f"{find(results, 'start.import'):.2f} s, {memory:.0f} MB / {find(results, 'start.help'):.2f} s"),
        ("advantages 128 x 4096 with the Python call, over memcpy of the same bytes", f"{gae[0]:.2f}"),
        ("advantages 2048 x 8 with the Python call", f"{gae[1]:.1f} us"),
        ("CartPole on one core over Gymnasium's own vectorized one", f"{over:.1f} times"),
    ]  # fmt: skip
    return table(("", "measured"), rows)


def core_figures(results: Results, cores: int) -> str:
    """The C core alone, and what its rules cost."""
    names = {
        "core.sim": "CartPole",
        "core.sim_without_finals_and_statistics": "CartPole without final observations, costs, `valid` and episode logs",
        "core.sim_with_fma": "CartPole with fused multiply-adds (not bit-equal elsewhere)",
        "core.forward": "64x64 network, forward",
        "core.forward_backward": "64x64 network, forward, PPO loss, backward",
    }
    text = by_cores("C core alone, rows/s", names, results, cores)
    peak, flops = find(results, "core.peak_of_one_core"), find_flops(results)
    forward = find(results, "core.forward", threads=1) * flops / 1e9
    physics, reset = find(results, "core.sim_physics"), find(results, "core.sim_reset")
    return (
        f"{text}\n\nOne core does {peak:.0f} GFLOP/s in a loop of independent multiply-adds, in the same run; the forward pass "
        f"does {forward:.0f}, {forward / peak:.0%} of it, tanh included. A CartPole step is {physics:.1f} ns of physics; a new "
        f"episode costs {reset:.1f} ns, with a random stream for each environment, in one step of 22 under random actions."
    )


def find_flops(results: Results) -> int:
    """Operations of one row of the network."""
    return int(next(r["settings"]["flops"] for r in results if r["name"] == "infer.forward"))


def isa_figures(results: Results) -> str:
    """Speed-ups of the instruction sets over `serial`, one core."""
    names = [r["settings"]["isa"] for r in results if r["name"] == "kernels.gae" and r["settings"]["t"] == 128]
    others = [name for name in names if name != "serial"]
    rows = []
    for what, name, settings in (
        ("CartPole `step`", "sim.step", {"threads": 1}),
        ("network forward", "infer.forward", {"threads": 1}),
        ("advantages 128 x 4096", "kernels.gae", {"t": 128}),
    ):
        values = {isa: find(results, name, isa=isa, **settings) for isa in names}
        gain = {
            isa: value / values["serial"] if name != "kernels.gae" else values["serial"] / value
            for isa, value in values.items()
        }
        rows.append((what, *(f"{gain[isa]:.1f}" for isa in others)))
    return table(("one core, over `serial`", *(f"`{name}`" for name in others)), rows)


def replace(path: Path, text: str, mark: str = "figures") -> None:
    """Puts text between the marks of a file."""
    marked = re.sub(
        rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m: f"{m[1]}{text}\n{m[2]}", path.read_text(), flags=re.DOTALL
    )
    path.write_text(marked)


def publish(path: Path) -> None:
    """Writes the figures of a results file into the documents."""
    saved = json.loads(path.read_text())
    results, machine = saved["results"], saved["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {best_isa(results)}, each figure the best of its repetitions."
    users, start = main_figures(results, machine["cores"]), start_figures(results)
    replace(ROOT / "README.md", f"{where}\n\n{users}\n\n{start}")
    parts = (where, users, start, core_figures(results, machine["cores"]), isa_figures(results))
    replace(ROOT / "docs/explanation/performance.md", "\n\n".join(parts))


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
