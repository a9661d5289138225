"""`puffer bench`: speeds of this machine, each beside a yardstick measured in the same run."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pufferlib_core.backends import get_backend
from pufferlib_core.config import parse_value
from pufferlib_core.errors import ConfigError
from pufferlib_core.loops.api import train
from pufferlib_core.native import Pool, gae, isa, isa_names
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Mixed
from pufferlib_core.vector import VecEnv, env_spec, vectorize

from pufferlib_cli.options import whole

Result = dict[str, Any]
CALLS = 100  # of what takes about a microsecond


def best_seconds(call: Callable[[], Any], budget: float) -> float:
    """Least time of one call, repeated for `budget` seconds after a warm-up: the machine at its quietest."""
    return best_in_turn([call], budget)[0]


def best_in_turn(calls: Sequence[Callable[[], Any]], budget: float) -> list[float]:
    """Least time of each call, made in turn, so that what else the machine does meets all of them alike."""
    for call in calls:
        call()
    least, end = [float("inf")] * len(calls), time.perf_counter() + budget
    while time.perf_counter() < end:
        for k, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            least[k] = min(least[k], time.perf_counter() - begin)
    return least


def calls(call: Callable[[], Any]) -> Callable[[], None]:
    """`CALLS` calls, one after the other: a clock is too coarse for one."""

    def several() -> None:
        for _ in range(CALLS):
            call()

    return several


def copying(size: int, times: int = 1) -> Callable[[], None]:
    """A call that copies `size` bytes `times` times: 2 * size are read and written each time."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)

    def copy() -> None:
        for _ in range(times):
            np.copyto(target, source)

    return copy


def random_actions(vec: VecEnv, steps: int) -> Any:
    """Actions (steps, N, ...), different in every step."""
    rng = np.random.default_rng(0)
    space = vec.action_space
    shape = (steps, *vec.action_shape)
    if isinstance(space, Mixed):
        actions = np.empty(shape, vec.action_dtype)
        actions["choices"] = rng.integers(0, space.nvec, actions["choices"].shape)
        actions["numbers"] = rng.uniform(-1, 1, actions["numbers"].shape)
        return actions
    if isinstance(space, Box):
        return rng.uniform(-1, 1, shape).astype(np.float32)
    return rng.integers(0, space.nvec if space.shape else space.nvec[0], shape).astype(np.int32)


def simulation(name: str, num_envs: int, threads: int, budget: float) -> list[Result]:
    """Random actions that change every step: one call a step, and one call for 32 steps."""
    vec = vectorize(env_spec(name), num_envs=num_envs, threads=threads)
    vec.reset()
    actions = random_actions(vec, 32)
    segment = vec.allocate(32)

    def steps() -> None:
        for action in actions:
            vec.step(action)

    common = {"env": name, "num_envs": num_envs, "threads": threads}
    rows = 32 * num_envs
    size = segment.obs[0].nbytes + 10 * num_envs  # observation, reward, cost and two flags of a step
    block = max(size, 1 << 16)
    one, many, copy = best_in_turn([steps, lambda: vec.run(actions, segment), copying(block, 32)], 2 * budget)
    return [
        {"name": "sim.step", "value": rows / one, "unit": "steps/s", "settings": common},
        {"name": "sim.run", "value": rows / many, "unit": "steps/s", "settings": common | {"steps_per_call": 32}},
        {"name": "sim.memcpy_limit", "value": 32 * block / copy / (size / num_envs), "unit": "steps/s",
         "settings": {"bytes_per_step": size / num_envs}},
    ]  # fmt: skip


def inference(name: str, num_envs: int, threads: int, budget: float) -> list[Result]:
    """Simulation with a 64x64 policy that samples; the policy alone; one row of it with the Python call."""
    spec = env_spec(name)
    policy_spec = PolicySpec(obs_space=spec.obs_space, action_space=spec.action_space, config=PolicyConfig())
    pool = Pool(threads)
    native = get_backend("native", "infer")
    policy = native.NativePolicy(policy_spec, native.initial_params(policy_spec, 0), None, pool)
    vec = vectorize(spec, num_envs=num_envs, pool=pool)
    latest = vec.reset()  # its arrays are overwritten by each step
    obs = latest.obs.copy()
    common = {"env": name, "num_envs": num_envs, "threads": threads, "network": "64x64 tanh"}
    flops = 2 * sum(t.size for t in policy_spec.tensors() if len(t.shape) == 2)
    one = policy.actor(greedy=False)

    def play() -> None:
        action, _, _ = policy.act(latest.obs, greedy=False)
        vec.step(action)

    forward = num_envs / best_seconds(lambda: policy.forward(obs), budget)
    latency, general = (seconds / CALLS for seconds in best_in_turn([calls(one), calls(lambda: policy.act(one.obs))], budget))
    alone = {"env": name, "rows": 1, "network": "64x64 tanh"}
    return [
        {"name": "infer.sim", "value": num_envs / best_seconds(play, budget), "unit": "steps/s", "settings": common},
        {"name": "infer.forward", "value": forward, "unit": "samples/s", "settings": common | {"flops": flops}},
        {"name": "infer.gflops", "value": forward * flops / 1e9, "unit": "GFLOP/s", "settings": common},
        {"name": "infer.actor", "value": latency * 1e6, "unit": "us", "settings": alone},
        {"name": "infer.act", "value": general * 1e6, "unit": "us", "settings": alone},
    ]


def training(name: str, num_envs: int, threads: int, budget: float) -> list[Result]:
    """PPO end to end, logging on: 32 steps a segment, 64x64 tanh, minibatch 4096, 1 and 4 epochs."""
    results = []
    rows = 32 * num_envs
    for epochs in (1, 4):
        options = {"train": {"num_envs": num_envs, "threads": threads, "timesteps": rows * 8, "stop_return": None},
                   "ppo": {"horizon": 32, "epochs": epochs, "minibatch": min(4096, rows), "normalize_return": False},
                   "policy": {"hidden": [64, 64], "separate": False, "normalize_obs": False}}  # fmt: skip
        rate, end = 0.0, time.perf_counter() + budget
        with tempfile.TemporaryDirectory() as out:
            while True:
                rate = max(rate, train(name, options=options, out=out).summary["steps_per_second"])
                if time.perf_counter() > end:
                    break
        settings = {"env": name, "num_envs": num_envs, "threads": threads, "horizon": 32, "epochs": epochs,
                    "minibatch": min(4096, rows), "network": "64x64 tanh"}  # fmt: skip
        results.append({"name": f"train.ppo_{epochs}_epochs", "value": rate, "unit": "steps/s", "settings": settings})
    return results


def kernels(budget: float) -> list[Result]:
    """GAE against a copy of the same bytes."""
    results = []
    rng = np.random.default_rng(0)
    for t, n in ((128, 4096), (2048, 8)):
        reward, value, next_value = (rng.normal(size=(t, n)).astype(np.float32) for _ in range(3))
        terminated, truncated = ((rng.random((t, n)) < 0.05).astype(np.uint8) for _ in range(2))
        out = np.empty((t, n), np.float32)
        call = functools.partial(gae, reward, value, next_value, terminated, truncated, gamma=0.99, lam=0.95, out=out)
        moved = t * n * 18
        seconds, limit = best_in_turn([call, copying(moved // 2)], 1.5 * budget)
        settings = {"t": t, "n": n, "bytes": moved}
        results += [
            {"name": "kernels.gae", "value": seconds * 1e6, "unit": "us", "settings": settings},
            {"name": "kernels.gae_over_memcpy", "value": seconds / limit, "unit": "ratio", "settings": settings},
        ]
    return results


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Measures; prints a table, or with --json one object."""
    num_envs, budget = whole(args.num_envs, "--num-envs"), parse_value(args.seconds, float, "--seconds")
    threads = whole(args.threads, "--threads") or os.cpu_count() or 1
    if num_envs < 1 or not 0 < budget < math.inf:
        raise ConfigError("--num-envs must be at least 1, and --seconds above 0")
    env_spec(args.env)
    modes: dict[str, Callable[[], list[Result]]] = {
        "sim": lambda: simulation(args.env, num_envs, threads, budget),
        "infer": lambda: inference(args.env, num_envs, threads, budget),
        "train": lambda: training(args.env, num_envs, threads, budget),
        "kernels": lambda: kernels(budget),
    }
    chosen = [measure for mode, measure in modes.items() if args.mode in (None, mode)]
    results = [result for measure in chosen for result in measure()]
    name = next(key for key, value in isa_names().items() if value == isa())
    for result in results:
        result["settings"]["isa"] = name
    if args.json:
        print(json.dumps({"results": results}))
        return 0
    for result in results:
        print(f"{result['name']:<26}{result['value']:>18,.2f} {result['unit']:<10} {result['settings']}")
    return 0
