"""The tables of docs/comparison.md."""

from __future__ import annotations

from statistics import median
from typing import Any

from publish import table

Result = dict[str, Any]
MISSING = "not installed"


def rounded(value: float) -> str:
    """Three digits, whole from a hundred on."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(result: Result) -> str:
    """Median over the rounds of our rate over the peer's."""
    return rounded(median(a["rate"] / b["rate"] for a, b in zip(result["ours"], result["theirs"], strict=True)))


def rates(results: list[Result], ours: str) -> str:
    """Steps a second of this framework and its peers; one row of ours for each number of cores."""
    rows = []
    for cores in sorted({r["cores"] for r in results}):
        group = [r for r in results if r["cores"] == cores]
        own = [run["rate"] for r in group for run in r["ours"]]
        rows.append((ours, str(cores), rounded(max(own)), rounded(median(own)), "1"))
        for r in group:
            found = [run["rate"] for run in r["theirs"]]
            told = (rounded(max(found)), rounded(median(found)), ratio(r)) if found else (MISSING, "", "")
            rows.append((r["peer"], str(cores), *told))
    return table(("", "cores", "best", "median", "ours / theirs"), rows)


def span(values: list[float]) -> str:
    """Median and range in seconds."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "none"


def solved_row(title: str, runs: list[Result], limit: str) -> tuple[str, ...]:
    """Times of the seeds that reached the goal."""
    if not runs:
        return (title, limit, MISSING, "", "", "")
    good = [run for run in runs if run["solved"]]
    steps = f"{median(run['steps'] for run in good):,.0f}" if good else "none"
    return (title, limit, f"{len(good)} of {len(runs)}", span([run["seconds"] for run in good]),
            span([run["wall"] for run in good]), steps)  # fmt: skip


def solving(results: list[Result], preset: Result) -> str:
    """Seconds until 100 training episodes average 475."""
    rows = [solved_row("this framework", preset["ours"], "its preset")]
    first = next((r["ours"] for r in results if r["ours"]), [])
    rows.append(solved_row("this framework", first, "RL Zoo's"))
    rows += [solved_row(r["peer"], r["theirs"], "RL Zoo's") for r in results]
    return table(("", "settings", "seeds solved", "training, s", "whole process, s", "steps"), rows)


def importing(results: list[Result]) -> str:
    """Seconds and megabytes of an import."""

    def row(title: str, runs: list[Result]) -> tuple[str, ...]:
        seconds = [run["seconds"] for run in runs]
        memory = f"{min(run['bytes'] for run in runs) / 1e6:.0f}" if runs else ""
        return (title, *((f"{min(seconds):.2f}", f"{median(seconds):.2f}") if runs else (MISSING, "")), memory)

    rows = [row("this framework", [run for r in results for run in r["ours"]])]
    return table(("", "best, s", "median, s", "resident, MB"), rows + [row(r["peer"], r["theirs"]) for r in results])


def figures(saved: Result) -> str:
    """All tables, with the machine and the versions they belong to."""
    machine, results = saved["machine"], saved["results"]
    versions: dict[str, None] = {}
    for name, packages in saved["versions"].items():
        versions |= {f"{p} {v}" + (f" ({name})" if p == "numpy" else ""): None for p, v in packages.items()}
    parts = [f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}; {', '.join(versions)}."]
    chosen = {name: [r for r in results if r["name"] == name] for name in ("sim", "train", "solve", "preset", "import")}
    parts += ["CartPole, random actions, steps/s:", rates(chosen["sim"], "this framework, one `step` a call")]
    for num_envs in sorted({r["settings"]["num_envs"] for r in chosen["train"]}):
        same = [r for r in chosen["train"] if r["settings"]["num_envs"] == num_envs]
        used = same[0]["settings"]
        shape = f"{num_envs} environments, {used['horizon']} steps, {used['epochs']} epochs, minibatches of {used['minibatch']}"
        parts.append(f"PPO end to end, {shape}, steps/s:")
        parts.append(rates(same, "this framework"))
    parts += ["Until 100 training episodes average 475, one core, median and range over the seeds that got there:",
              solving(chosen["solve"], chosen["preset"][0])]  # fmt: skip
    parts += ["Import:", importing(chosen["import"])]
    return "\n\n".join(parts)
