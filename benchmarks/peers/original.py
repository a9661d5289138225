"""The original PufferLib: Gymnasium's CartPole behind its emulation and vectorization, and its emulation alone."""

from __future__ import annotations

from typing import Any

import nested
import numpy as np
import pufferlib.emulation
import pufferlib.vector
from common import best_rate, random_actions, serve
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import TimeLimit


def cartpole() -> pufferlib.emulation.GymnasiumPufferEnv:
    """CartPole-v1 without the checks of `gymnasium.make`, which fail under numpy 1.23."""
    return pufferlib.emulation.GymnasiumPufferEnv(TimeLimit(CartPoleEnv(), 500))


def simulate(num_envs: int, cores: int) -> dict[str, float]:
    """Steps a second: in this process on one core, otherwise with a worker process for each core."""
    backend = pufferlib.vector.Serial if cores == 1 else pufferlib.vector.Multiprocessing
    workers = {} if cores == 1 else {"num_workers": cores}
    envs = pufferlib.vector.make(cartpole, backend=backend, num_envs=num_envs, **workers)
    envs.reset()
    actions = random_actions(num_envs)

    def steps() -> None:
        for action in actions:
            envs.step(action)

    result = best_rate(steps, actions.size)
    envs.close()
    return result


def to_space(part: nested.Part) -> spaces.Space:
    """Its space in Gymnasium."""
    if part.kind == "box":
        return spaces.Box(0, 100, part.sizes, np.dtype(part.dtype).type)
    if part.kind == "discrete":
        return spaces.Discrete(part.sizes[0])
    return spaces.MultiDiscrete(part.sizes) if part.kind == "multi_discrete" else spaces.MultiBinary(part.sizes[0])


def parts(dtype: np.dtype, offset: int = 0, name: str = "") -> dict[str, list[Any]]:
    """Dtype, shape and offset of every part of a row."""
    if dtype.fields is None:
        return {name: [dtype.base.str, list(dtype.shape), offset]}
    found: dict[str, list[Any]] = {}
    for key, (inner, at) in dtype.fields.items():
        found |= parts(inner, offset + at, f"{name}.{key}" if name else key)
    return found


def emulate(count: int, cores: int) -> dict[str, Any]:
    """Layout, packed rows (hexadecimal) and seconds an observation of `count` observations of each nested space."""
    results = {}
    for name, spec in nested.SPACES.items():
        dtype = pufferlib.emulation.dtype_from_space(nested.build(spec, to_space, spaces.Dict, spaces.Tuple))
        rows = np.zeros(count, dtype)
        structs = [rows[i : i + 1] for i in range(count)]  # as GymnasiumPufferEnv holds them
        observations = [nested.observation(spec, i) for i in range(count)]

        def call(structs: list[Any] = structs, observations: list[Any] = observations) -> None:
            for struct, observation in zip(structs, observations, strict=True):
                pufferlib.emulation.emulate(struct, observation)

        rate = best_rate(call, count, 0.2)["rate"]
        layout = {"parts": parts(dtype), "bytes": dtype.itemsize}
        results[name] = {"layout": layout, "rows": rows.tobytes().hex(), "seconds": 1 / rate}
    return results


if __name__ == "__main__":
    serve(simulate=simulate, emulate=emulate)
