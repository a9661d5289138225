"""An environment in C (walk.c), compiled against the installed headers and loaded at run time: no fork, no rebuild.

It steps at the speed of the built-in ones, saves and restores its state, and trains with everything else.
"""

import ctypes
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pufferlib_core as puffer

library = Path(tempfile.mkdtemp()) / "libwalk.so"
flags = ["-std=c11", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-I", puffer.include_dir()]
subprocess.run([os.environ.get("CC", "cc"), *flags, str(Path(__file__).parent / "walk.c"), "-o", str(library)], check=True)

loaded = ctypes.CDLL(str(library))  # stays loaded as long as this module
loaded.walk_table.restype = ctypes.c_void_p

SPEC = puffer.EnvSpec(
    name="walk",
    obs_space=puffer.Box(-1.0, 1.0, (1,)),
    action_space=puffer.Discrete(2),
    max_episode_steps=50,
    table=lambda isa: loaded.walk_table(),
)

if __name__ == "__main__":
    puffer.check_env(SPEC)  # also: independent of threads and of the number of environments; states restore bit for bit

    vec = puffer.make_vec("__main__:SPEC", num_envs=4096)
    vec.reset()
    actions = np.random.default_rng(0).integers(0, 2, (64, 4096)).astype(np.int32)
    begin = time.perf_counter()
    for action in actions:
        vec.step(action)
    print(f"{actions.size / (time.perf_counter() - begin) / 1e6:.0f} million steps/s")

    result = puffer.train("__main__:SPEC", timesteps=40_960, options={"ppo.learning_rate": 3e-3})
    score = puffer.evaluate("__main__:SPEC", result.checkpoint, episodes=64)["episode_return_mean"]
    print(f"return {score:.1f} of 9 to 11")
    assert score > 8
