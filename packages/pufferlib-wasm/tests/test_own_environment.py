"""An environment of one's own in a module, with action masks and settings: built, trained, played, resumed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pufferlib_wasm
import pytest
from pufferlib_core import load_checkpoint
from pufferlib_core.backends.native import load_policy
from pufferlib_core.policies import PolicySpec
from pufferlib_core.seeding import STREAM_EVAL_ENV
from pufferlib_core.vector import env_spec, vectorize
from pufferlib_wasm.catalogue import CatalogueError, catalogue
from pufferlib_wasm.compile import BuildError

HERE = Path(__file__).parent
NAME = "doors:SPEC"
ROWS = 16 * 8  # of an update
SETTINGS = {
    "env": NAME,
    "seed": 11,
    "train": {"num_envs": 16, "timesteps": 6 * ROWS},
    "ppo": {"horizon": 8, "minibatch": 64, "entropy_coef": 0.01, "kl_coef": 0.1, "kl_target": 0.01},
    "doors": {"prize": 2.5, "max_steps": 9},
}


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """The folder with doors.c, importable; a library is built beside it."""
    folder = tmp_path_factory.mktemp("doors")
    for name in ("doors.c", "doors.py"):
        shutil.copy(HERE / name, folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    del sys.modules["doors"]


@pytest.fixture(scope="module")
def modules(doors):
    """Both modules with it."""
    return [pufferlib_wasm.build(doors, kind=kind, environments={NAME: doors / "doors.c"}) for kind in ("scalar", "simd")]


def test_masked_actions_never_occur_in_training(modules, node, in_turn, gap, tmp_path):
    """A masked action gives NaN, which would end the run; and the run is that of CPython to the bit."""
    scalar, simd = modules
    theirs, _ = in_turn(scalar, 3, ROWS, SETTINGS)
    node(simd, 1, theirs, tmp_path / "fast", SETTINGS)
    node(scalar, 1, theirs, tmp_path / "plain", SETTINGS)
    assert gap(tmp_path / "fast", tmp_path / "plain") < 1e-4
    node(simd, 6, None, tmp_path / "all", SETTINGS)


def test_masked_actions_never_occur_in_play(modules, node, cpython, tmp_path):
    node(modules[0], 2, None, tmp_path / "run", SETTINGS)
    told = {module.name: _played(module, tmp_path / "run") for module in modules}
    for one in told.values():
        assert (one["taken"], one["masked"], one["nan"]) == (2 * 16 * 100, 0, 0)
        assert one["seen"] > 1600  # that there were masks
        assert one["wrong"] > 0  # and that breaking them is noticed
    assert told["puffer-scalar.wasm"]["obs"] == _played_here(tmp_path / "run").ravel().tolist()


def _played(module, folder):
    command = ["node", str(HERE / "play.mjs"), str(module), str(folder), "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _played_here(folder):
    """The observations after 100 steps of the same policy, environments and noise in CPython."""
    saved = load_checkpoint(folder)
    spec = PolicySpec.from_json(saved.manifest["policy"])
    policy = load_policy(spec, saved.files["policy"])
    vec = vectorize(env_spec(NAME, SETTINGS["doors"]), num_envs=16, seed=5, first_stream=STREAM_EVAL_ENV)
    step = vec.reset()
    for t in range(100):
        action, _, _ = policy.act(step.obs, greedy=False, seed=5, step=t, action_mask=step.action_mask)
        step = vec.step(action)
    return np.array(step.obs)


def test_catalogue_has_its_settings(doors):
    said = catalogue([NAME])["environments"][NAME]
    assert said["section"] == "doors"
    kinds = {"max_steps": "int32_t", "prize": "float", "sees_last": "int32_t", "scale": "float"}
    assert said["struct"] == {"size": 16, "fields": {name: [4 * k, kind, 1] for k, (name, kind) in enumerate(kinds.items())}}
    assert said["action_space"] == {"type": "MultiDiscrete", "nvec": [3, 2]}
    assert said["space_options"] == ["scale"]  # sees_last removes one number of several that are alike


def test_spaces_that_the_module_does_not_know_are_not_saved(modules, node, cpython, same, tmp_path):
    with pytest.raises(AssertionError, match=r"doors\.scale is not its default and shapes observations"):
        node(modules[0], 1, None, tmp_path / "refused", SETTINGS | {"doors": {"scale": 2.0}})
    blind = SETTINGS | {"doors": {"sees_last": False}, "train": {"num_envs": 16, "timesteps": ROWS}}
    node(modules[0], 1, None, tmp_path / "blind", blind)
    same(tmp_path / "blind", cpython(blind))


def test_what_is_no_environment_of_a_module_is_refused(doors, tmp_path):
    with pytest.raises(BuildError, match=r"doors:SPEC: .*nothing\.c is no C file"):
        pufferlib_wasm.build(tmp_path, environments={NAME: tmp_path / "nothing.c"})
    with pytest.raises(CatalogueError, match=r"observe a Box of float32"):
        catalogue(["gymnasium:CartPole-v1"])
