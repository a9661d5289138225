"""Golden trajectories of the native environments: data against which every target is checked, byte by byte.

`uv run tools/golden.py` compares; `--write` replaces packages/pufferlib-envs/golden/<name>.json after a deliberate change.

Rule: environments i of seed 0 (stream i), same-step autoreset. The word w(t, i, k) is the first word of
Threefry-2x32-20 with key (3, 4) and counter (t, i K + k), K numbers in an action. A discrete component k with n choices
takes floor(w n / 2^32), a number takes -2 + 4 (w >> 8) 2^-24. The digest is FNV-1a (64 bits) over the little-endian bytes
of obs, reward, terminated, truncated of each step, continued from step to step.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pufferlib_core.spaces import Box
from pufferlib_core.vector import env_names, env_spec, make_vec

FOLDER = Path(__file__).resolve().parent.parent / "packages/pufferlib-envs/golden"
ENVS, STEPS, EVERY = 4, 1000, 100


def threefry(key0: int, key1: int, counter0: np.ndarray, counter1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011), from its definition; counters are uint32 arrays."""
    keys = (np.uint32(key0), np.uint32(key1), np.uint32(0x1BD11BDA ^ key0 ^ key1))
    a, b = counter0 + keys[0], counter1 + keys[1]
    for group in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            a = a + b
            b = ((b << np.uint32(turn)) | (b >> np.uint32(32 - turn))) ^ a
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def words(step: int, count: int) -> np.ndarray:
    """w(step, ...) for `count` numbers of actions."""
    return threefry(3, 4, np.full(count, step, np.uint32), np.arange(count, dtype=np.uint32))[0]


def actions(vec: Any, step: int) -> np.ndarray:
    """The actions of a step."""
    drawn = words(step, int(np.prod(vec.action_shape))).reshape(vec.action_shape)
    if isinstance(vec.action_space, Box):
        return np.float32(-2.0) + np.float32(4.0) * ((drawn >> 8).astype(np.float32) * np.float32(2**-24))
    choices = np.array(vec.action_space.nvec if vec.action_space.shape else vec.action_space.nvec[0], np.uint64)
    return ((drawn.astype(np.uint64) * choices) >> np.uint64(32)).astype(np.int32)


def fnv1a(digest: int, data: bytes) -> int:
    """FNV-1a, 64 bits, continued from a digest."""
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return digest


def trajectory(name: str) -> dict[str, Any]:
    """The golden record of an environment."""
    vec = make_vec(name, num_envs=ENVS, seed=0, threads=1)
    digest, digests, finished = 0xCBF29CE484222325, [], 0
    step = vec.reset()
    first = [[float(x) for x in row] for row in step.obs.reshape(ENVS, -1)]
    for t in range(STEPS):
        step = vec.step(np.ascontiguousarray(actions(vec, t)))
        finished += step.finished
        for plane in (step.obs, step.reward, step.terminated, step.truncated):
            digest = fnv1a(digest, plane.tobytes())
        if (t + 1) % EVERY == 0:
            digests.append(f"{digest:016x}")
    return {"env": name, "seed": 0, "num_envs": ENVS, "steps": STEPS, "episodes": finished, "first_obs": first,
            "digest_every": EVERY, "digests": digests}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the stored records")
    options = parser.parse_args()
    wrong = 0
    for name in env_names():
        if env_spec(name).table.__module__ != "pufferlib_envs._spec":
            continue  # of another package
        record, path = trajectory(name), FOLDER / f"{name}.json"
        if options.write:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(json.dumps(record, indent=1) + "\n")
        same = path.exists() and json.loads(path.read_text()) == record
        wrong += not same
        print(f"{'ok  ' if same else 'FAIL'}  {name}: {record['episodes']} episodes, {record['digests'][-1]}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
