"""The puffer command, as a person types it."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from pufferlib_cli.main import main
from pufferlib_core import Box, EnvSpec, Mixed, MultiDiscrete, load_checkpoint

KEYS = {"env", "algorithm", "backend", "seed", "steps", "seconds", "startup_seconds", "steps_per_second",
        "episode_return_mean", "episodes", "run_dir", "checkpoint", "best_checkpoint", "resumed_from"}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", "cartpole", "--timesteps", "2048", "--out", str(out), "--json"]) == 0
    return next(out.iterdir())


def config(path: Path) -> dict:
    import tomllib

    return tomllib.loads((path / "config.toml").read_text())


def test_train_json(tmp_path, capsys):
    assert main(["train", "cartpole", "--timesteps", "4096", "--out", str(tmp_path), "--json"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    summary = json.loads(out)
    assert set(summary) == KEYS
    assert summary["steps"] == 4096
    assert load_checkpoint(summary["checkpoint"]).state["steps"] == 4096


def test_plain_output(tmp_path, capsys):
    assert main(["train", "cartpole", "--timesteps", "2048", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "training cartpole with ppo on native" in out
    assert "puffer eval cartpole --checkpoint" in out


def test_eval_json_and_text(run, capsys):
    assert main(["eval", "cartpole", "--checkpoint", str(run), "--episodes", "8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"env", "episodes", "episode_return_mean", "episode_return_std", "episode_length_mean"}
    assert main(["eval", "cartpole", "--checkpoint", str(run), "--episodes", "8", "--stochastic", "--render"]) == 0
    assert "8 episodes" in capsys.readouterr().out


def test_precedence(tmp_path, monkeypatch):
    file = tmp_path / "c.toml"
    file.write_text("seed = 1\n[ppo]\nepochs = 1\ngamma = 0.9\nlam = 0.5\n")
    monkeypatch.setenv("PUFFER_PPO__GAMMA", "0.8")
    monkeypatch.setenv("PUFFER_PPO__LAM", "0.6")
    out = tmp_path / "runs"
    arguments = ["train", "cartpole", "--config", str(file), "--timesteps", "64", "--out", str(out), "--json"]
    assert main([*arguments, "--ppo.lam", "0.7", "--ppo.minibatch=256", "--policy.hidden", "8,8"]) == 0
    made = config(next(out.iterdir()))
    assert made["seed"] == 1
    assert (made["ppo"]["epochs"], made["ppo"]["gamma"], made["ppo"]["lam"]) == (1, 0.8, 0.7)
    assert made["ppo"]["horizon"] == 32  # the preset
    assert made["ppo"]["clip"] == 0.2  # the default
    assert made["policy"]["hidden"] == [8, 8]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "cartpol"], 2, "unknown environment 'cartpol'; did you mean cartpole?"),
        (["train"], 2, "name an environment"),
        (["train", "cartpole", "--ppo.horzion", "3"], 2, "unknown option --ppo.horzion; did you mean --ppo.horizon?"),
        (["train", "cartpole", "--ppo.gamma"], 2, "--ppo.gamma needs a value"),
        (["train", "cartpole", "--ppo.gamma", "2"], 2, "ppo.gamma=2.0 must be in [0.0, 1.0]"),
        (["train", "cartpole", "--timesteps", "many"], 2, "--timesteps must be a whole number, got 'many'"),
        (["train", "cartpole", "--timesteps", "0"], 2, "train.timesteps=0 must be at least 1"),
        (["train", "cartpole", "--backend", "nativ"], 2, "unknown back end 'nativ'; did you mean native?"),
        (["train", "cartpole", "--algorithm", "pp"], 2, "unknown algorithm 'pp'; did you mean ppo?"),
        (["train", "cartpole", "--ppo.minibatch", "1000"], 2, "does not divide num_envs * horizon = 2048"),
        (["train", "cartpole", "--config", "/nonexistent.toml"], 2, "cannot read"),
        (["train", "cartpole", "stray", "--debugg"], 2, "unexpected argument"),
        (["train", "--resume", "/nonexistent"], 1, "no such checkpoint or run folder"),
        (["train", "--resume", "auto"], 2, "name an environment"),
        (["train", "cartpole", "--resume", "auto", "--out", "/dev/null"], 1, "cannot look for runs in /dev/null"),
        (["train", "cartpole", "--resume"], 2, "expected one argument"),
        (["train", "cartpole", "--keep", "-1"], 2, "train.keep=-1 must be at least 0"),
        (["train", "cartpole", "--keep", "few"], 2, "--keep must be a whole number, got 'few'"),
        (["train", "cartpole", "--evaluate-every", "0.5"], 2, "--evaluate-every must be a whole number"),
        (["train", "cartpole", "--train.evaluate_every", "-5"], 2, "train.evaluate_every=-5 must be at least 0"),
        (["train", "cartpole", "--evaluate-episodes", "0"], 2, "train.evaluate_episodes=0 must be at least 1"),
        (["train", "cartpole", "--train.evaluate_evry", "5"], 2, "did you mean --train.evaluate_every?"),
        (["train", "cartpole", "--out", "/dev/null/x", "--timesteps", "64"], 1, "cannot create a run folder"),
        (["eval", "cartpole", "--checkpoint", "/nonexistent"], 1, "no such checkpoint or run folder"),
        (["eval", "cartpole", "--checkpoint", "missing.onnx"], 1, "missing.onnx: there is no such file"),
        (["eval", "cartpole", "--checkpoint", "/tmp", "--bogus"], 2, "unknown option --bogus"),
        (["demo", "cartpole", "--steps", "0"], 2, "--steps must be at least 1"),
        (["demo", "cartpole", "--backend", "nativ"], 2, "unknown back end 'nativ'; did you mean native?"),
        (["bench", "nothing"], 2, "unknown environment"),
        (["bench", "--seconds", "0"], 2, "--seconds above 0"),
        (["bench", "--seconds", "nan"], 2, "--seconds above 0"),
        (["demo", "cartpole", "--fps", "inf"], 2, "--fps a number of at least 0"),
        (["train", "cartpole", "--policy.hidden", ""], 2, "policy.hidden must have at least one layer"),
        (["frobnicate"], 2, "puffer: 'frobnicate' is none of train, eval, "),
        (["trian"], 2, "; did you mean train?"),
        (["export"], 2, "required: ACTION; see puffer export --help"),
    ],
)
def test_mistakes_are_one_readable_line(arguments, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_an_onnx_file_names_the_back_end_that_reads_it(capsys, tmp_path):
    file = tmp_path / "x.onnx"
    file.touch()
    assert main(["eval", "cartpole", "--checkpoint", str(file)]) == 2
    assert "these can: onnxruntime (--backend onnxruntime, in Python backend='onnxruntime')" in capsys.readouterr().err


def test_an_unknown_variable_is_named(monkeypatch, capsys):
    monkeypatch.setenv("PUFFER_PPO__GAMA", "1")
    assert main(["train", "cartpole"]) == 2
    assert "PUFFER_PPO__GAMA is not a setting; did you mean ppo.gamma?" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused(run, capsys, tmp_path):
    import shutil

    copy = shutil.copytree(run, tmp_path / "run")
    file = next(copy.glob("checkpoints/*/policy.safetensors"))
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert main(["eval", "cartpole", "--checkpoint", str(copy)]) == 1
    assert "corrupted" in capsys.readouterr().err
    assert main(["eval", "pendulum", "--checkpoint", str(run)]) == 1
    assert "was trained on cartpole, whose spaces differ from those of pendulum" in capsys.readouterr().err
    assert main(["demo", "pendulum", "--checkpoint", str(run)]) == 1
    assert "not on pendulum" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    from pufferlib_core.errors import CheckpointError

    with pytest.raises(CheckpointError):
        main(["eval", "cartpole", "--checkpoint", str(tmp_path / "x"), "--debug"])


def test_list_demo_help(capsys):
    assert main(["list"]) == 0
    assert "cartpole" in capsys.readouterr().out
    assert main(["list", "--json", "--options"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "native" in found["backends"]
    assert "ppo.gamma" in found["options"]
    assert main(["demo", "pendulum", "--steps", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 5
    for command in ("train", "eval", "bench", "list", "demo"):
        assert main([command, "--help"]) == 0
        assert "usage: puffer" in capsys.readouterr().out
    assert main(["--version"]) == 0


def test_bench_gives_every_figure(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--num-envs", "128", "--seconds", "0.02", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    names = {result["name"] for result in results}
    assert {"sim.step", "sim.run", "infer.sim", "infer.forward", "train.ppo_1_epochs", "train.ppo_4_epochs",
            "kernels.gae", "kernels.gae_over_memcpy"} <= names  # fmt: skip
    assert all(result["value"] > 0 and result["unit"] and result["settings"]["isa"] for result in results)
    assert main(["bench", "pendulum", "--mode", "sim", "--num-envs", "64", "--seconds", "0.02"]) == 0


class Archers:
    """Reward for an arrow (0 or 1) that is shot high."""

    def __init__(self, num_envs, seed):
        self.num_envs = num_envs

    def reset(self, rows, out):
        out.obs[rows] = 0

    def step(self, action, out):
        assert set(action["choices"].ravel()) <= {0, 1}
        out.reward[:] = action["choices"][:, 0] * action["numbers"][:, 0].clip(-1, 1)

    def close(self):
        """Nothing."""


def test_actions_that_mix_choices_and_numbers(capsys, tmp_path, monkeypatch):
    module = type(sys)("archers")
    module.SPEC = EnvSpec(
        name="archers", obs_space=Box(-1, 1, (1,)), action_space=Mixed(MultiDiscrete([2]), Box(-1, 1, (1,))), batch=Archers,
        max_episode_steps=4, render_ansi=str,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "archers", module)
    sizes = ["--train.num_envs", "8", "--ppo.horizon", "16", "--ppo.minibatch", "64"]
    assert main(["train", "archers:SPEC", "--timesteps", "256", "--out", str(tmp_path), *sizes, "--json"]) == 0
    checkpoint = json.loads(capsys.readouterr().out)["checkpoint"]
    assert main(["eval", "archers:SPEC", "--checkpoint", checkpoint, "--episodes", "8"]) == 0
    assert main(["demo", "archers:SPEC", "--steps", "9"]) == 0
    assert main(["demo", "archers:SPEC", "--steps", "9", "--checkpoint", checkpoint]) == 0
    assert main(["bench", "archers:SPEC", "--mode", "sim", "--num-envs", "16", "--seconds", "0.01"]) == 0
    assert main(["env", "check", "archers:SPEC"]) == 0
    assert main(["demo", "archers:SPEC", "--play"]) == 1
    assert "archers has no keys" in capsys.readouterr().err


def test_doctor(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "environment cartpole" in text
    assert "back end onnxruntime" in text
    assert "problems\n  none" in text
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["in use"] in report["machine"]["instruction sets"]
    assert report["versions"]["pufferlib-core"]
    assert report["problems"] == []


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_back_end_whose_framework_is_missing(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["train", "cartpole", "--backend", name, "--out", str(tmp_path)]) == 1
    assert f"{name} is not installed: pip install 'pufferlib-core[{name}]>=0.1,<0.2'" in capsys.readouterr().err
    assert main(["doctor"]) == 0
    assert f"back end {name}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["export", "onnx", "--out", "a.onnx"], ["eval", "cartpole", "--backend", "onnxruntime"]])
def test_onnx_without_its_packages(command, run, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main([*command, "--checkpoint", str(run.resolve())]) == 1
    assert "onnx is not installed: pip install 'pufferlib-core[onnx]>=0.1,<0.2'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class Brought:
    """An entry point of a package that brings a command, and the module that it names."""

    HELP = "greet somebody"

    def __init__(self, name, package):
        self.name, self.dist = name, types.SimpleNamespace(name=package)

    def load(self):
        return self

    def arguments(self, parser):
        parser.add_argument("whom")

    def run(self, args, rest):
        print(f"{self.name} {args.whom}")
        return 3


def test_commands_that_packages_bring(capsys, monkeypatch):
    def bring(*entries):
        monkeypatch.setattr("pufferlib_cli.main.entry_points", lambda group: [Brought(*entry) for entry in entries])

    bring(("greet", "a"), ("send.card", "a"), ("send.flowers", "b"))
    for words in (["greet", "you"], ["send", "card", "you"], ["send", "flowers", "you"]):
        assert main(words) == 3
        assert capsys.readouterr().out == f"{'.'.join(words[:-1])} you\n"
    for name in ("train", "env.new"):
        bring((name, "a"))
        assert main(["list"]) == 2
        assert f"command {name!r} is brought by pufferlib-cli and a: uninstall one" in capsys.readouterr().err
    bring(("send.card", "a"), ("send.card", "b"))
    assert main(["list"]) == 2
    assert "command 'send.card' is brought by a and b" in capsys.readouterr().err


def test_doctor_names_what_is_broken(capsys, monkeypatch):
    from pufferlib_cli.commands import doctor

    def broken(name):
        raise ImportError(f"no library for {name}")

    monkeypatch.setattr(doctor, "env_spec", broken)
    assert main(["doctor"]) == 1
    assert "environment squared: no library for squared" in capsys.readouterr().out


def test_playing_needs_a_terminal_and_a_game(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["demo", "squared", "--play"]) == 2
    assert "needs a terminal" in capsys.readouterr().err
    assert main(["demo", "squared", "--play", "--checkpoint", "x"]) == 2
    assert "choose one" in capsys.readouterr().err


def test_settings_of_the_environment_are_options(tmp_path, capsys):
    short = ["--timesteps", "2048", "--json", "--out", str(tmp_path)]
    assert main(["train", "catch", "--catch.rows", "4", *short]) == 0
    run_dir = json.loads(capsys.readouterr().out)["run_dir"]
    assert "rows = 4" in (Path(run_dir) / "config.toml").read_text()
    assert main(["eval", "catch", "--checkpoint", run_dir, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episode_length_mean"] == 3.0
    assert main(["demo", "catch", "--checkpoint", run_dir, "--steps", "5"]) == 0
    capsys.readouterr()
    assert main(["train", "catch", "--catch.rowz", "4", *short]) == 2
    assert "did you mean --catch.rows" in capsys.readouterr().err
    assert main(["train", "catch", "--catch.rows", "1", *short]) == 2
    assert "catch.rows=1 must be in [2, 64]" in capsys.readouterr().err
    assert main(["train", "cartpole", "--catch.rows", "4", *short]) == 2
    assert "unknown option --catch.rows" in capsys.readouterr().err


def test_every_setting_is_listed(capsys):
    assert main(["list", "--options", "--json"]) == 0
    options = json.loads(capsys.readouterr().out)["options"]
    assert options["squared.distance"].endswith("(default 3)")
    assert "ppo.gamma" in options


def test_parity(capsys, monkeypatch):
    assert main(["parity", "--case", "mlp, choice", "--backends", "native"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[:2] == ["policy", "back"]
    assert shown[1].startswith("mlp, choice")
    assert main(["parity", "--case", "mlp, choice", "--backends", "native,native", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"]
    assert [gaps["many_updates"] for gaps in told["gaps"]] == [0, 0]
    from pufferlib_cli.commands import parity

    assert parity.installed()[0] == "native"
    monkeypatch.setattr(parity, "FORWARD", 0.0)
    assert main(["parity", "--case", "mlp, choice", "--backends", "native"]) == 1
    assert "native, mlp, choice: forward above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--case", "mlp, choise"], "unknown case 'mlp, choise'; did you mean mlp, choice?"),
        (["--backends", "nativ"], "unknown back end 'nativ'; did you mean native?"),
        (["--backends", "onnxruntime"], "back end 'onnxruntime' cannot ppo.update"),
    ],
)
def test_parity_of_what_is_not_there(options, text, capsys):
    assert main(["parity", *options]) == 2
    assert text in capsys.readouterr().err


def test_numbers_below_zero_are_values():
    from pufferlib_cli.main import _settings

    assert _settings(["verify", "--low", "-1,2", "--high", "-.5", "--json"])[0] == [
        "verify",
        "--low=-1,2",
        "--high=-.5",
        "--json",
    ]
    assert _settings(["train", "--ppo.clip", "-1"]) == (["train"], ["--ppo.clip", "-1"])


def test_settings_may_stand_where_no_environment_does(tmp_path, capsys):
    out = ["--timesteps", "4096", "--out", str(tmp_path), "--json"]
    assert main(["train", "--ppo.learning_rate", "3e-3", "cartpole", *out]) == 0
    first = json.loads(capsys.readouterr().out)
    assert config(Path(first["run_dir"]))["ppo"]["learning_rate"] == 3e-3
    changed = ["--ppo.learning_rate", "2e-4", "--ppo.entropy_coef=0.5", "--timesteps", "8192"]
    assert main(["train", "--resume", first["run_dir"], *changed, *out[2:]]) == 0
    again = json.loads(capsys.readouterr().out)
    ppo = config(Path(again["run_dir"]))["ppo"]
    assert (ppo["learning_rate"], ppo["entropy_coef"], again["steps"]) == (2e-4, 0.5, 8192)
    assert main(["train", "cartpole", "--ppo.gamma", "--json"]) == 2
    assert "--ppo.gamma needs a value" in capsys.readouterr().err
