"""Observations run through the C that `puffer export c` writes, compiled by the compiler of this machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from pufferlib_core.checkpoint.publish import write
from pufferlib_core.errors import RunError
from pufferlib_core.native import Array

from pufferlib_embedded.emit import array
from pufferlib_embedded.export import filled, texts
from pufferlib_embedded.golden import golden
from pufferlib_embedded.model import Model
from pufferlib_embedded.targets import TARGETS, Build, run
from pufferlib_embedded.verify.choices import act


def replay(model: Model, obs: Array) -> None:
    """Checks that the exported C makes of observations what the core makes of them, to the bit.

    Args:
        model: an MLP policy.
        obs: (N, obs_size), of the dtype that the network reads.

    Raises:
        RunError: if the compiler is missing, or a number is another.
    """
    if shutil.which("cc") is None:
        raise RunError("cc is not installed, and counterexamples are run through the exported C: apt-get install gcc")
    kind = "uint8_t" if obs.dtype == np.uint8 else "float"
    with tempfile.TemporaryDirectory(prefix="puffer-replay-") as name:
        folder, work = Path(name, "policy"), Path(name, "work")
        folder.mkdir()
        work.mkdir()
        main = filled("verify/replay.c", {"observations": array(kind, "OBS", obs), "rows": str(len(obs))})
        write(folder, texts(model, golden(model, 1), None) | {"test/replay.c": main})
        build = Build(TARGETS["host"], folder, work)
        build.objects()
        said = run([build.link("replay", ["test/replay.c"], 0, 0)], folder).split()
    words = np.array(said[1::2], np.uint32).reshape(len(obs), -1)
    for x, found in zip(obs, words, strict=True):
        wanted = np.concatenate([np.zeros(1, np.uint32), *(part.view(np.uint32) for part in act(model, x))])
        if (found != wanted).any():
            raise RunError(
                f"the exported C differs from the core on {x.tolist()}: status, heads and action are {found.tolist()} (bits), "
                f"and should be {wanted.tolist()}: report this"
            )
