"""`puffer export c`: folders for the host, repeated by the compiled test program, and refusals. QEMU: tools/embedded.py."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pufferlib_core import evaluate, load_checkpoint, save_checkpoint, train
from pufferlib_core.backends import get_backend
from pufferlib_core.checkpoint import publish
from pufferlib_core.errors import CheckpointError, ConfigError, RunError, UnknownName
from pufferlib_core.native import ffi, lib
from pufferlib_core.spaces import Dict
from pufferlib_embedded import closed_loop, targets
from pufferlib_embedded import export as exporting
from pufferlib_embedded.export import export
from pufferlib_embedded.model import Model
from small_policies import SPECS, VECTOR, folder_bytes, saved, spec_of


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """A model of each kind of policy."""
    return [Model(saved(tmp_path_factory.mktemp("kinds"), spec)) for spec in SPECS.values()]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_kind_of_policy_repeats_its_golden_vectors(tmp_path, spec):
    path = saved(tmp_path, spec)
    report = export(path, tmp_path / "out")
    assert report["verified"]
    assert report["golden_worst"] <= 1e-6
    assert report["difference_from_formulas"] <= 1e-5
    assert report["golden_rows"] >= (200 if spec.carry else 40)
    assert set(report["undefined_symbols"]) <= {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}
    assert json.loads((tmp_path / "out/report.json").read_text()) == {k: v for k, v in report.items() if k != "folder"}


def test_macs_are_counted_by_hand(tmp_path):
    assert Model(saved(tmp_path / "a", SPECS["gru"])).macs == 5 * 12 + 27 * 12 + 27 * 9 + 9 * 3
    conv = 4 * 3 * (4 * 2 * 9) + 2 * 1 * (3 * 4 * 4)  # 6x5 -> 4x3, then 2x1
    assert Model(saved(tmp_path / "b", SPECS["image"])).macs == conv + 6 * 12 + 12 * 3


@pytest.mark.parametrize("kind", ["both, separate lstm", "gru", "image"])
def test_slices_do_the_work_that_the_model_counts(tmp_path, kind):
    model = Model(saved(tmp_path, SPECS[kind]))
    obs, scratch = np.full(model.spec.tree.width, 3, model.spec.tree.feature_dtype), np.empty(model.scratch, np.float32)
    carry, heads, at = np.zeros(max(1, model.carry), np.float32), np.empty(model.spec.logits, np.float32), ffi.new("int32_t *")
    handed_on, *buffers = (ffi.from_buffer("float[]", array) for array in (carry, scratch, heads))
    given = [handed_on if model.carry else ffi.NULL, *buffers]
    for budget in (1, 40, model.dearest, model.work // 4, model.work):
        wanted, left = 1, budget
        for cost in (cost for count, cost in model.units for _ in range(count)):
            if left < cost and left < budget:
                wanted, left = wanted + 1, budget
            left -= cost
        assert lib.puf_lean_begin(model.lean, ffi.from_buffer(obs), buffers[0], at) == lib.PUF_OK
        calls = 1
        while lib.puf_lean_continue(model.lean, budget, at, *given) == lib.PUF_LEAN_BUSY:
            calls += 1
        assert (calls, at[0]) == (wanted, 0)
    assert calls == 1  # the budget of a whole step is model.work
    assert max(cost for _, cost in model.units) == model.dearest


@given(budgets=st.lists(st.integers(1, 3000), min_size=1, max_size=40), dropped=st.integers(0, 60), rows=st.integers(1, 4))
def test_slices_give_the_bits_of_the_whole_whatever_the_budgets(policies, budgets, dropped, rows):
    for model in policies:
        rng, at = np.random.default_rng(rows), ffi.new("int32_t *")
        whole, sliced = np.zeros((2, model.carry), np.float32)
        scratch, heads = np.empty(model.scratch, np.float32), np.empty(model.spec.logits, np.float32)
        handed_on = ffi.from_buffer("float[]", sliced) if model.carry else ffi.NULL
        buffers = handed_on, ffi.from_buffer("float[]", scratch), ffi.from_buffer("float[]", heads)
        for _ in range(rows):
            obs, other = rng.integers(0, 9, (2, model.spec.tree.width)).astype(model.spec.tree.feature_dtype)
            lib.puf_lean_begin(model.lean, ffi.from_buffer(other), buffers[1], at)
            for _ in range(dropped):
                if lib.puf_lean_continue(model.lean, 1, at, *buffers) == lib.PUF_OK:
                    sliced[:] = whole  # that one came to its end
                    break
            lib.puf_lean_begin(model.lean, ffi.from_buffer(obs), buffers[1], at)
            spent = itertools.cycle(budgets)
            while lib.puf_lean_continue(model.lean, next(spent), at, *buffers) == lib.PUF_LEAN_BUSY:
                pass
            assert heads.tobytes() == model.act(obs, whole)[0].tobytes()
            assert sliced.tobytes() == whole.tobytes()


def test_the_model_acts_like_the_native_back_end(cartpole):
    model, rng = Model(cartpole), np.random.default_rng(0)
    policy = get_backend("native", "infer").load_policy(model.spec, model.tensors)
    obs = rng.normal(size=(64, 4)).astype(np.float32)
    wanted, _, _ = policy.act(obs)
    assert [int(model.act(row, np.zeros(0, np.float32))[1][0]) for row in obs] == wanted.tolist()


def test_twice_and_at_once_gives_the_same_bytes(tmp_path, cartpole):
    other = saved(tmp_path, SPECS["gru"])
    jobs = [(cartpole, "a"), (other, "b"), (cartpole, "c"), (other, "d")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda job: export(job[0], tmp_path / job[1]), jobs))
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "c") != folder_bytes(tmp_path / "b")
    assert folder_bytes(tmp_path / "b") == folder_bytes(tmp_path / "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "checkpoints", "d"]


def test_a_fault_in_the_exported_c_is_found(tmp_path, monkeypatch):
    path, files = saved(tmp_path, SPECS["gru"]), exporting.core_files(Model.roots)
    faulty = files | {"lean.c": files["lean.c"].replace("(carry[j] - n)", "(n - carry[j])")}
    assert faulty != files
    monkeypatch.setattr(exporting, "core_files", lambda roots: faulty)
    with pytest.raises(RunError, match=r"(?s)status 1, nothing is written.*failed \d\d"):
        export(path, tmp_path / "out")
    missing = files | {"lean.c": files["lean.c"].replace("puf_encoder_size(", "puf_elsewhere(")}
    monkeypatch.setattr(exporting, "core_files", lambda roots: missing)
    with pytest.raises(RunError, match=r"puf_elsewhere"):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("env", "config"), [("cartpole", {"cartpole.max_steps": 77}), ("pendulum", {})])
def test_an_episode_with_the_environment_is_that_of_the_host(tmp_path, env, config):
    options = {"train.timesteps": 4096, "policy.hidden": [8], "train.num_envs": 16, "ppo.horizon": 64} | config
    path = train(env, options=options, out=str(tmp_path / "runs"), seed=1).checkpoint
    report = export(path, tmp_path / "out", closed_loop=True)
    wanted = evaluate(env, path, episodes=1)["episode_length_mean"] if env == "pendulum" else report["episode"]["length"]
    assert report["episode"]["length"] == wanted <= 200
    text = (tmp_path / "out/test/closed_loop.c").read_text()
    name = ".gravity = "
    assert name in text
    (tmp_path / "out/test/closed_loop.c").write_text(text.replace(name, f"{name}5.0f * "))  # a slightly heavier world
    (tmp_path / "work").mkdir()
    build = targets.Build(targets.TARGETS["host"], tmp_path / "out", tmp_path / "work")
    build.objects()
    with pytest.raises(RunError, match=r"same_return 0" if env == "pendulum" else r"status 1"):
        build.test("test/closed_loop.c", f"test/env/{env}.c", include="test/env")


def test_closed_loop_takes_environments_in_c(tmp_path, cartpole, monkeypatch):
    monkeypatch.setattr(closed_loop.pufferlib_envs, "source_dir", lambda: str(tmp_path))
    with pytest.raises(ConfigError, match="and cartpole is none: leave the flag out"):
        export(cartpole, tmp_path / "out", closed_loop=True)


def test_an_interrupt_leaves_nothing_half(tmp_path, cartpole, monkeypatch):
    export(cartpole, tmp_path / "out", unverified=True)
    before = folder_bytes(tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(targets.Build, "test", interrupt)
    for name, force in (("out", True), ("other", False)):
        with pytest.raises(KeyboardInterrupt):
            export(cartpole, tmp_path / name, force=force)
    assert folder_bytes(tmp_path) == before


def test_force_replaces_an_export_and_nothing_else(tmp_path, cartpole):
    export(cartpole, tmp_path / "out", unverified=True)
    with pytest.raises(RunError, match="exists and is not overwritten"):
        export(cartpole, tmp_path / "out")
    (tmp_path / "out/report.json").write_text("old")
    assert not export(cartpole, tmp_path / "out", unverified=True, force=True)["verified"]
    assert (tmp_path / "out/report.json").read_text() != "old"
    (tmp_path / "precious").mkdir()
    for _ in range(2):
        with pytest.raises(RunError, match="is not an exported policy"):
            export(cartpole, tmp_path / "precious", force=True)
        (tmp_path / "precious/report.json").write_text("of another program")


def test_of_two_at_once_the_second_does_not_overwrite_the_first(tmp_path, cartpole, monkeypatch):
    prove = exporting._proven

    def overtaken(*args):
        export(cartpole, tmp_path / "out", unverified=True)
        return prove(*args)

    monkeypatch.setattr(exporting, "_proven", overtaken)
    with pytest.raises(RunError, match="exists and is not overwritten"):
        export(cartpole, tmp_path / "out")
    assert not json.loads((tmp_path / "out/report.json").read_text())["verified"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("moves", [1, 2])
def test_an_interrupt_while_folders_are_moved_loses_none(tmp_path, cartpole, monkeypatch, moves):
    export(cartpole, tmp_path / "out", unverified=True)
    (tmp_path / "out/mine").write_text("kept")
    move, done = publish.os.rename, []

    def interrupted(*args):
        move(*args)
        done.append(args)
        if len(done) == moves:
            raise KeyboardInterrupt

    monkeypatch.setattr(publish.os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(cartpole, tmp_path / "out", unverified=True, force=True)
    assert (tmp_path / "out/mine").exists() == (moves == 1)
    assert (tmp_path / "out/src/policy.c").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_smallest_policy_acts_in_slices(tmp_path):
    assert export(saved(tmp_path, spec_of(hidden=(1, 1))), tmp_path / "out")["verified"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("tensor", ["trunk.0.weight", "policy.bias", "obs_norm/mean", "obs_norm/var"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, tensor, value):
    spec = spec_of(normalize_obs=True)
    given = {"obs_norm/mean": np.zeros(5), "obs_norm/var": np.ones(5), "obs_norm/count": np.ones(1)}
    shapes = {layer.name: layer.shape for layer in spec.tensors()}
    given |= {tensor: np.full(shapes.get(tensor, (5,)), value, np.float32 if tensor in shapes else np.float64)}
    with pytest.raises(CheckpointError, match=r"NaN"):
        Model(saved(tmp_path, spec, **given))


def test_a_critic_that_is_not_finite_is_left_behind(tmp_path):
    spec = spec_of(separate=True)
    shape = next(tensor.shape for tensor in spec.tensors() if tensor.name == "value.weight")
    assert Model(saved(tmp_path, spec, **{"value.weight": np.full(shape, np.nan, np.float32)})).macs > 0


def test_the_name_of_an_environment_does_not_become_code(tmp_path):
    made = load_checkpoint(saved(tmp_path / "a", SPECS["gru"]))
    manifest = {"policy": made.manifest["policy"], "env": '*/ #error "\n', "backend": "native", "algorithm": "ppo"}
    path = save_checkpoint(tmp_path / "b", 7, files=made.files, state={"settings": {}}, manifest=manifest)
    assert export(path, tmp_path / "out")["env"] == manifest["env"]
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or file.name == "report.json" or "#error" not in file.read_text()


def test_refusals(tmp_path, cartpole, monkeypatch):
    with pytest.raises(UnknownName, match="did you mean cortex-m4f"):
        export(cartpole, tmp_path / "out", target="cortex-m4")
    with pytest.raises(RunError, match="there is no such folder"):
        export(cartpole, tmp_path / "none/out")
    with pytest.raises(RunError, match="cannot write /proc/out"):
        export(cartpole, "/proc/out", unverified=True)
    with pytest.raises(ConfigError, match="takes one Box"):
        export(saved(tmp_path / "1", spec_of(obs=Dict({"a": VECTOR}))), tmp_path / "out")
    with pytest.raises(ConfigError, match="masks its actions"):
        export(saved(tmp_path / "2", spec_of(), masked=True), tmp_path / "out")
    module = load_checkpoint(cartpole).manifest["policy"]
    module["config"]["module"] = "a:b"
    with pytest.raises(ConfigError, match="is a module"):
        export(_foreign(tmp_path / "3", module), tmp_path / "out")
    with pytest.raises(CheckpointError, match="not the description of a policy"):
        export(_foreign(tmp_path / "4", {}), tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"lacks obs_norm/mean"):
        export(saved(tmp_path / "5", spec_of(normalize_obs=True)), tmp_path / "out")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RunError, match=r"arm-none-eabi-gcc.*apt-get install.*--unverified"):
        export(cartpole, tmp_path / "out", target="cortex-m0")
    with pytest.raises(RunError, match=r"riscv64-unknown-elf-gcc, .*qemu-system-riscv32 is not installed.* picolibc"):
        export(cartpole, tmp_path / "out", target="rv32")
    assert not (tmp_path / "out").exists()


def _foreign(folder, policy):
    return save_checkpoint(folder, 7, files={"policy": {}, "envs": {}}, state={}, manifest={"policy": policy, "env": "x"})


def test_too_large_says_by_how_much(tmp_path):
    wide = saved(tmp_path, spec_of(hidden=(200, 400), core="lstm", core_size=8))
    with pytest.raises(ConfigError, match=r"flash, [\d,]+ too many; .* trunk.1.weight \(400, 200\), 320,000 bytes"):
        export(wide, tmp_path / "out", target="cortex-m0", unverified=True)


CATEGORIES = {  # of the library specification
    "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
    "Data Processing", "Other",
}  # fmt: skip
HOST = """cmake_minimum_required(VERSION 3.13)
project(host C)
add_subdirectory(out)
add_executable(host main.c)
target_link_libraries(host policy)
"""
MAIN = """#include "policy.h"
int main(void) {
    static policy_state state;
    static const float obs[POLICY_OBS];
    policy_action action;
    policy_reset(&state);
    return policy_step(&state, obs, &action) == POLICY_OK ? 0 : 1;
}
"""


def test_the_folder_builds_by_cmake_alone_and_in_a_project(tmp_path, cartpole):
    export(cartpole, tmp_path / "out", unverified=True)
    (tmp_path / "CMakeLists.txt").write_text(HOST)
    (tmp_path / "main.c").write_text(MAIN)
    for source, programs in (("out", ["test_policy", "slices"]), (".", ["host", "out/test_policy"])):
        for command in (["-B", f"build/{source}", "-S", source], ["--build", f"build/{source}"]):
            subprocess.run(["cmake", *command], cwd=tmp_path, check=True, capture_output=True)
        for program in programs:
            subprocess.run([f"build/{source}/{program}"], cwd=tmp_path, check=True, capture_output=True)


def test_library_files_name_what_their_tools_require(tmp_path, cartpole):
    """PlatformIO's specification of library.json; the library specification of Arduino, as arduino-lint reads it."""
    export(cartpole, tmp_path / "out", unverified=True)
    manifest = json.loads((tmp_path / "out/library.json").read_text())
    assert re.fullmatch(r"[a-z0-9_\-.]{1,50}", manifest["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    assert (tmp_path / "out" / manifest["build"]["srcDir"]).is_dir()
    lines = (tmp_path / "out/library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    required = ("name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures")
    assert [name for name in required if not properties.get(name)] == []
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.\-]{0,62}", properties["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert properties["category"] in CATEGORIES
    assert properties["url"].startswith("https://")
    assert (tmp_path / "out/src" / properties["includes"]).is_file()


CONTROL = """
#include "control.h"
int main(void) {
    static control body;
    static policy_state whole;
    policy_action wanted;
    float obs[POLICY_OBS] = {0.1f, -0.2f, 0.03f, 0.4f};
    int slices = 1;
    control_init(&body);
    control_begin(&body, obs);
    (void)control_work(&body);
    obs[0] = -0.7f;
    control_begin(&body, obs); /* in the middle of a step: that is dropped */
    for (; !control_work(&body); slices++) { obs[0] = 9.0f; /* nobody reads it any more */ }
    obs[0] = -0.7f;
    policy_reset(&whole);
    if (policy_step(&whole, obs, &wanted) != POLICY_OK || wanted.choice[0] != body.action.choice[0]) { return 1; }
    for (int i = 0; i < POLICY_HEADS; i++) { if (whole.heads[i] != body.state.heads[i]) { return 2; } }
    if (slices < 8 || body.missed != 1 || body.faults != 0 || control_work(&body)) { return 3; }
    obs[0] = 1e30f * 1e30f;
    control_begin(&body, obs);
    return (body.faults == 1 && !body.busy) ? 0 : 4;
}
"""


def test_the_example_of_boards_acts_in_slices(tmp_path, cartpole):
    export(cartpole, tmp_path / "out", unverified=True)
    (tmp_path / "main.c").write_text(CONTROL)
    boards = Path(__file__).resolve().parent.parent / "examples/boards"
    build = targets.Build(targets.TARGETS["host"], tmp_path / "out", tmp_path)
    build.objects()
    assert build.test(str(tmp_path / "main.c"), str(boards / "control.c"), include=str(boards)) == {}


def test_the_command(tmp_path, cartpole, capsys):
    from pufferlib_cli.main import main

    assert main(["export", "c", "--checkpoint", str(cartpole), "--out", str(tmp_path / "a")]) == 0
    assert "73 golden rows repeated" in capsys.readouterr().out
    assert main(["export", "c", "--checkpoint", str(cartpole), "--out", str(tmp_path / "b"), "--unverified"]) == 0
    assert "not compiled and not run" in capsys.readouterr().out
    assert main(["export", "c", "--checkpoint", str(cartpole), "--out", str(tmp_path / "c"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"]
    assert main(["export", "c", "--checkpoint", str(cartpole), "--out", str(tmp_path / "a")]) == 1
    assert "exists and is not overwritten" in capsys.readouterr().err
