"""How long one action takes, the Python call included: a 64x64 policy on CartPole, native and through onnxruntime.

    UV_PROJECT_ENVIRONMENT=build/peers uv run --no-sync --group dev --group peers python benchmarks/latency.py

All calls are made in turn, some of one and then of the next, so that what else the machine does meets all of them
alike. Without onnxruntime it measures the native back end alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pufferlib_core.backends import get_backend
from pufferlib_core.backends.params import initial_params, views
from pufferlib_core.errors import MissingExtra
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.vector import env_spec

CALLS = 20  # timed together: few, so that some rounds meet a machine that does nothing else


def policies(config: PolicyConfig) -> dict[str, Any]:
    """The same policy, by back end."""
    env = env_spec("cartpole")
    spec = PolicySpec(obs_space=env.obs_space, action_space=env.action_space, config=config)
    tensors = views(spec, initial_params(spec, 0))
    found = {}
    for name in ("native", "onnxruntime"):
        try:
            found[name] = get_backend(name, "infer").load_policy(spec, tensors, options=None, threads=1)
        except MissingExtra as error:
            print(f"left out: {error}")
    return found


def measured(found: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Calls by name; those of onnxruntime's own session have their feed ready."""
    table: dict[str, Callable[[], Any]] = {}
    for name, policy in found.items():
        rows, memory = policy.spec.tree.empty(1), bool(policy.spec.carry)
        carry = np.zeros((1, policy.spec.carry), np.float32) if memory else None
        table[f"{name}: actor, sampled"] = policy.actor(greedy=False)
        table[f"{name}: actor, greedy"] = policy.actor()
        table[f"{name}: act"] = lambda policy=policy, rows=rows, carry=carry: policy.act(rows, carry=carry)
        table[f"{name}: forward"] = lambda policy=policy, rows=rows, carry=carry: policy.forward(rows, carry=carry)
        if name == "onnxruntime":
            ready = {port.name: rows for port in policy.session.get_inputs() if port.name != "carry"}
            ready |= {"carry": carry} if memory else {}
            table["onnxruntime: session.run alone"] = lambda run=policy.session.run, ready=ready: run(None, ready)
    return table


def main() -> None:
    """Prints the least and the median time of each call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--core", default="none", choices=("none", "lstm", "gru"))
    args = parser.parse_args()
    table = measured(policies(PolicyConfig(core=args.core, core_size=64)))
    times: dict[str, list[float]] = {name: [] for name in table}
    for _ in range(args.rounds):
        for name, call in table.items():
            begin = time.perf_counter()
            for _ in range(CALLS):
                call()
            times[name].append((time.perf_counter() - begin) / CALLS * 1e6)
    print(f"{'one row, microseconds':<34}{'least':>8}{'median':>8}")
    for name, found in times.items():
        print(f"{name:<34}{min(found):>8.2f}{np.median(found):>8.2f}")


if __name__ == "__main__":
    main()
