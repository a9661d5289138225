"""Scores, learning curves and speeds of the environments, and their pages: `uv run --group docs benchmarks/environments.py`.

Trains every preset on three seeds (some minutes), measures random play and simulation, stores all of it in
benchmarks/results/environments.json, draws docs/images, and writes docs/envs/<name>.md from the C header (the rules), the
settings and the results. `--pages` only writes the pages again; `--check` fails if one of them is not up to date.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from publish import millions, table  # the file beside this one
from pufferlib_core import evaluate, train
from pufferlib_core.spaces import Box, sample_allowed
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_names, env_spec, make_vec
from run import processor

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/environments.json"
PAGES, IMAGES = ROOT / "docs/envs", ROOT / "docs/images"
HEADERS = ROOT / "packages/pufferlib-envs/src/pufferlib_envs/csrc"
SEEDS = (0, 1, 2)
PLAYED = {"squared": 2, "memory": 0, "catch": 5, "deep_sea": 5}  # steps before the picture; others: 30
BEST = {  # returns that cannot be beaten, or that good policies reach
    "acrobot": "about -70",
    "bandit": "0.8",
    "cartpole": "500",
    "catch": "1",
    "deep_sea": "0.99",
    "memory": "1",
    "mountain_car": "about -100",
    "mountain_car_continuous": "about 96",
    "pendulum": "about -150",
    "squared": "1",
}
NOTES = {
    "deep_sea": "It waits for methods that explore. In bsuite's 10,000 episodes, plain PPO with small batches (8 environments "
    "x 40 steps, minibatch 80, learning rate 0.001, entropy 0.01) learns `size` 3 and 7 on each of six seeds and "
    "10 on none: the cost of moving right is learnt before the corner is met, which happens to random actions "
    "once in 1024 episodes. Tests show it. Chance helps now and then (1 seed of 12 without the entropy bonus), "
    "and more often the preset, whose larger batches see 20,000 episodes: most seeds, each with a map of its own, "
    "learn 10. None of them learns 20.",
    "memory": "With `length` 0 the preset solves it; with 1 or more a policy without memory stays at chance. It waits for "
    "recurrent policies.",
    "mountain_car": "No reward is shaped: 16 environments and normalised observations and returns find the goal.",
    "mountain_car_continuous": "No reward is shaped: 16 environments and normalised observations and returns find the goal.",
}


def play_at_random(name: str) -> float:
    """Mean return of 500 episodes of uniformly random actions."""
    rng = np.random.default_rng(0)
    vec = make_vec(name, num_envs=50, seed=1)
    vec.reset()
    returns: list[float] = []
    while len(returns) < 500:
        action = np.stack([sample_allowed(vec.action_space, rng, None) for _ in range(50)])
        step = vec.step(action.astype(vec.action_dtype))
        returns += step.log["episode_return"][(step.terminated | step.truncated) != 0].tolist()
    return float(np.mean(returns))


def speed(name: str, threads: int) -> float:
    """Steps a second of 4096 environments under random actions, the best of 20 repetitions of 16 steps."""
    rng = np.random.default_rng(0)
    vec = make_vec(name, num_envs=4096, threads=threads, seed=1)
    vec.reset()
    shape = (16, *vec.action_shape)
    space = vec.action_space
    actions = rng.uniform(-1, 1, shape) if isinstance(space, Box) else rng.integers(0, space.nvec[0], shape)
    least = float("inf")
    for _ in range(20):
        begin = time.perf_counter()
        for action in actions.astype(vec.action_dtype):
            vec.step(action)
        least = min(least, time.perf_counter() - begin)
    return 16 * 4096 / least


def learn(name: str, seed: int) -> dict[str, Any]:
    """One run of the preset: steps, seconds, greedy score of 100 episodes, and the curve (steps, mean return)."""
    with tempfile.TemporaryDirectory() as out:
        run = train(name, seed=seed, out=out)
        score = evaluate(name, run.checkpoint)
        rows = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
    known = [(row["steps"], row["episode/return_mean"]) for row in rows if row["episode/return_mean"] is not None]
    thinned = [known[int(i)] for i in np.unique(np.linspace(0, len(known) - 1, 120).round())]
    return {
        "seed": seed,
        "steps": run.summary["steps"],
        "seconds": round(run.summary["seconds"], 2),
        "return_mean": score["episode_return_mean"],
        "return_std": score["episode_return_std"],
        "curve": [[steps, round(mean, 4)] for steps, mean in thinned],
    }


def measure() -> dict[str, Any]:
    """Everything about every environment."""
    cores = os.cpu_count() or 1
    results: dict[str, Any] = {"machine": {"processor": processor(), "cores": cores}, "environments": {}}
    for name in env_names():
        results["environments"][name] = {
            "random": play_at_random(name),
            "steps_per_second": [speed(name, 1), speed(name, cores)],
            "runs": [learn(name, seed) for seed in SEEDS],
        }
        runs = results["environments"][name]["runs"]
        print(f"{name:<26}{', '.join(score(run) for run in runs)}", flush=True)
    return results


def score(run: dict[str, Any]) -> str:
    """Return of a run, in three digits."""
    return f"{run['return_mean']:.3g}"


def picture(name: str, runs: list[dict[str, Any]]) -> None:
    """docs/images/<name>.png: the environment after some random steps, and its learning curves."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("agg")
    figure, (scene, curve) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", width_ratios=(2, 3))
    rng = np.random.default_rng(1)
    vec = make_vec(name, num_envs=1, seed=3)
    vec.reset()
    for _ in range(PLAYED.get(name, 30)):
        vec.step(np.ascontiguousarray(sample_allowed(vec.action_space, rng, None)[None], vec.action_dtype))
    scene.imshow(vec.render(mode="rgb_array"))
    scene.set_axis_off()
    for run in runs:
        steps, returns = zip(*run["curve"], strict=True)
        curve.plot(np.array(steps) / 1000, returns, linewidth=1, label=f"seed {run['seed']}")
    curve.set_xlabel("thousand steps")
    curve.set_ylabel("mean return of 100 episodes")
    curve.grid(alpha=0.3)
    curve.legend(fontsize=8)
    figure.savefig(IMAGES / f"{name}.png", dpi=80)
    plt.close(figure)


def rules(name: str) -> tuple[str, str]:
    """Title and rules, from the comment at the top of the C header."""
    comment = (HEADERS / f"{name}.h").read_text().partition("*/")[0].removeprefix("/* ")
    lines = [re.sub(r"^ \*( |$)", "", line) for line in comment.strip().splitlines()]
    text, fenced = "", False
    for line in lines:
        formula = line.startswith("    ")
        if formula != fenced:
            text += "\n```text\n" if formula else "```\n\n"
            fenced = formula
        text += (line.strip() if formula else line) + "\n"
    return name, text.strip()


def settings(spec: EnvSpec) -> str:
    """A table of the environment's own settings."""
    rows = []
    for field in dataclasses.fields(spec.config):
        low, high = field.metadata["low"], field.metadata["high"]
        value = getattr(spec.config, field.name)
        numbers = low is not None  # else it is a switch
        bounds = (f"at least {low:g}" if high is None else f"{low:g} to {high:g}") if numbers else "True or False"
        default = f"{value:g}" if isinstance(value, float) else str(value)
        rows.append((f"`{spec.name}.{field.name}`", default, bounds, field.metadata["help"]))
    return table(("setting", "default", "legal", "what"), rows, text=True)


def page(name: str, saved: dict[str, Any]) -> str:
    """The page of an environment."""
    spec, result, cores = env_spec(name), saved["environments"][name], saved["machine"]["cores"]
    title, text = rules(name)
    one, all_cores = (millions(value) for value in result["steps_per_second"])
    runs = result["runs"]
    trained = ", ".join(f"{score(run)} ({run['steps'] / 1000:,.0f}k steps, {run['seconds']:.1f} s)" for run in runs)
    facts = [
        ("random actions", f"{result['random']:.3g}"),
        ("best", BEST[name]),
        ("preset, seeds 0 to 2, greedy over 100 episodes", trained),
        (f"simulation, one core / {cores} cores", f"{one} / {all_cores} steps/s"),
    ]
    commands = [
        (f"puffer train {name}", "its preset needs no flags"),
        (f"puffer demo {name}", "watch random actions; --checkpoint for a policy"),
        (f"puffer demo {name} --play", "play yourself, by keyboard"),
    ]
    shell = "\n".join(f"{command:<44}# {what}" for command, what in commands)
    return f"""<!-- Written by benchmarks/environments.py from {name}.h, {name}.py and the stored results. -->

# {title}

{text}

![{name} after some random steps, and learning curves of its preset](../images/{name}.png)

```bash
{shell}
```

{table(("return", ""), facts, text=True)}

Speeds: {saved["machine"]["processor"]}, 4096 environments, `VecEnv.step`. {NOTES.get(name, "")}

## Settings

{settings(spec)}
""".replace(". \n", ".\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="only write the pages, from the stored results")
    parser.add_argument("--check", action="store_true", help="fail if a page is not what would be written")
    options = parser.parse_args()
    if not (options.pages or options.check):
        results = measure()
        RESULTS.write_text(json.dumps(results, separators=(",", ":")) + "\n")
        for name, result in results["environments"].items():
            picture(name, result["runs"])
    saved = json.loads(RESULTS.read_text())
    pages = {PAGES / f"{name}.md": page(name, saved) for name in env_names()}
    if options.check:
        old = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
        print(f"not up to date: {', '.join(old)}; run benchmarks/environments.py --pages" if old else "pages are up to date")
        return int(bool(old))
    PAGES.mkdir(exist_ok=True)
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
