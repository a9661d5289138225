"""An environment in C: walk.c, and its Python side walk.py. No fork, no rebuild: it is compiled when it is first used.

It steps at the speed of the built-in ones, has settings of its own, saves and restores its state, and trains with
everything else. `puffer env new NAME --language c` writes such a pair to begin from.
"""

import time

import numpy as np
import pufferlib_core as puffer

if __name__ == "__main__":
    puffer.check_env(puffer.env_spec("walk:SPEC"))  # also: states restore bit for bit, threads change nothing

    vec = puffer.make_vec("walk:SPEC", num_envs=4096)
    vec.reset()
    actions = np.random.default_rng(0).integers(0, 2, (64, 4096)).astype(np.int32)
    begin = time.perf_counter()
    for action in actions:
        vec.step(action)
    print(f"{actions.size / (time.perf_counter() - begin) / 1e6:.0f} million steps/s")

    result = puffer.train("walk:SPEC")
    score = puffer.evaluate("walk:SPEC", result.checkpoint, episodes=64)["episode_return_mean"]
    print(f"return {score:.1f} of 9 to 11")
    assert score > 8

    short = puffer.make_vec("walk:SPEC", num_envs=1, config={"edge": 2})
    short.reset()
    print(
        "with edge 2 an episode ends after", next(t for t in range(1, 9) if short.step(np.ones(1, np.int32)).finished), "steps"
    )
