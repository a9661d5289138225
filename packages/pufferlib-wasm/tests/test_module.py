import dataclasses
import importlib.util
from pathlib import Path

import pufferlib_wasm
import pytest
from pufferlib_core.errors import MissingExtra
from pufferlib_core.loops.settings import TrainConfig
from pufferlib_core.vector import env_names, env_spec
from pufferlib_wasm import catalogue, compile

NAMES = [name for name in env_names() if env_spec(name).table.__module__ == "pufferlib_envs._spec"]


def test_modules_are_small(built):
    scalar, simd, threads = ((built / compile.KINDS[kind]).stat().st_size for kind in ("scalar", "simd", "threads"))
    assert scalar < simd < threads <= 200_000


def test_catalogue_tells_every_setting_and_where_it_lies():
    said = catalogue.catalogue(NAMES)
    assert list(said["environments"]) == NAMES
    for name, env in said["environments"].items():
        assert set(env["options"]) == set(env["struct"]["fields"]), name
        assert env["index"] == NAMES.index(name)
        assert {field.name for field in dataclasses.fields(env_spec(name).config)} == set(env["options"])
    assert said["sections"]["train"]["num_envs"]["default"] == TrainConfig().num_envs
    assert said["sections"]["train"]["stop_return"] == {
        "kind": "float", "list": False, "default": None, "help": "stop when the mean of the last 100 episodes reaches it",
    }  # fmt: skip
    hidden = said["sections"]["policy"]["hidden"]
    assert (hidden["kind"], hidden["list"], hidden["default"], hidden["high"]) == ("int", True, [64, 64], 4096)
    # int32_t hidden_count, hidden[8], then activation; doubles at multiples of 8.
    fields = said["structs"]["puf_web_policy_config"]["fields"]
    assert fields["hidden"] == [4, "int32_t", 8]
    assert fields["activation"][0] == 36
    assert fields["obs_clip"] == [128, "double", 1]
    assert said["convolutions"]["impala_small"] == ((16, 8, 4), (32, 4, 2))
    assert {name: env["space_options"] for name, env in said["environments"].items() if env["space_options"]} == {
        "cartpole": ["x_limit", "theta_limit", "velocities"],
        "catch": ["rows", "columns"],
        "pendulum": ["max_torque", "max_speed"],
    }  # fmt: skip


def test_catalogue_tells_how_a_person_plays():
    told = {name: env["keys"] for name, env in catalogue.catalogue(NAMES)["environments"].items()}
    assert told["cartpole"] == {"actions": {"left": 0, "right": 1}, "idle": None}
    assert told["pendulum"] == {"actions": {"left": 2.0, "right": -2.0}, "idle": 0.0}
    assert list(told["bandit"]["actions"]) == list("0123456789")  # no keys of its own: a digit for each arm


def test_fields_of_a_run_are_settings():
    said = catalogue.catalogue([])
    for section in ("policy", "ppo"):
        fields = set(said["structs"][f"puf_web_{section}_config"]["fields"]) - {"hidden_count", "conv_count", "image"}
        assert fields <= set(said["sections"][section])


@pytest.mark.parametrize(("number", "code"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (624485, b"\xe5\x8e\x26")])
def test_leb128(number, code):
    assert compile._leb128(number) == code


def test_what_is_missing_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pufferlib_wasm, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(compile.BuildError, match=r"puffer-scalar\.wasm is missing: install the package again, or make it"):
        pufferlib_wasm.module_path(kind="scalar")
    (tmp_path / "playground").mkdir()
    (tmp_path / "playground/puffer.wasm").write_bytes(b"")
    assert pufferlib_wasm.module_path() == tmp_path / "playground/puffer.wasm"
    monkeypatch.setattr(compile, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pufferlib-wasm\[build\]>=0.1,<0.2"):
        pufferlib_wasm.build(tmp_path)


def test_a_kind_that_there_is_not_says_which_there_are(tmp_path):
    for use in (lambda: pufferlib_wasm.build(tmp_path, kind="fast"), lambda: pufferlib_wasm.module_path(kind="fast")):
        with pytest.raises(compile.BuildError, match="kind='fast' must be one of simd, scalar, threads"):
            use()


def test_what_does_not_compile_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(compile, "FLAGS", [*compile.FLAGS, "-DPUF_ALIGN=none"])
    monkeypatch.setattr(compile, "HOSTED", {path.name for path in Path(compile.pufferlib_core.source_dir()).glob("*.c")})
    assert importlib.util.find_spec("ziglang")
    with pytest.raises(compile.BuildError, match="PUF_ALIGN"):
        pufferlib_wasm.build(tmp_path)
    assert not (tmp_path / "puffer.wasm").exists()
