"""`puffer env`: templates that work, builds, checks with and without sanitizers, mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pufferlib_cli.main import main
from pufferlib_core.c_env import build
from pufferlib_core.errors import EnvError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def puffer(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pufferlib_cli", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("language", "attribute"), [("python", "MyWalk"), ("numpy", "SPEC"), ("c", "SPEC")])
def test_a_new_environment_works_at_once(capsys, language, attribute):
    assert main(["env", "new", "my_walk", "--language", language, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["env"] == f"my_walk:{attribute}"
    done = puffer("env", "check", f"my_walk:{attribute}")
    assert done.returncode == 0, done.stderr
    assert "keeps the contract" in done.stdout
    done = puffer("train", f"my_walk:{attribute}", "--timesteps", "20480", "--ppo.learning_rate", "3e-3", "--json")
    assert json.loads(done.stdout)["episode_return_mean"] > 5


def test_the_template_in_c_is_the_example():
    assert main(["env", "new", "walk", "--language", "c"]) == 0
    for name in ("walk.c", "walk.py"):
        assert Path(name).read_text() == (EXAMPLES / name).read_text()


def test_settings_reach_the_c_struct_and_changes_are_compiled():
    main(["env", "new", "walk", "--language", "c"])
    done = puffer("train", "walk:SPEC", "--timesteps", "2048", "--walk.edge", "2", "--walk.pay", "0.5", "--json")
    assert json.loads(done.stdout)["episodes"] > 300  # two or three steps each
    library = build(Path("walk.c"))
    before = library.stat().st_mtime_ns
    assert build(Path("walk.c")).stat().st_mtime_ns == before
    text = Path("walk.c").read_text()
    Path("walk.c").write_text(text.replace("info->obs_size = 1;", "info->obs_size = 2;"))
    os.utime("walk.c", ns=(before + 10**9, before + 10**9))
    done = puffer("env", "check", "walk:SPEC")
    assert done.returncode == 1
    assert "its spaces do not match its C table (obs_size 2" in done.stderr


def test_sanitizers_find_what_the_check_cannot():
    main(["env", "new", "walk", "--language", "c"])
    done = puffer("env", "check", "walk:SPEC", "--sanitize", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"env": "walk:SPEC", "passed": True}
    source = Path("walk.c").read_text()
    wrong = "w->at += move;\n    static int seen[4];\n    seen[(w->at + 10) & 31] = 1;"
    broken = source.replace("w->at += move;", wrong)
    Path("walk.c").write_text(broken)
    os.utime("walk.c", (2**31, 2**31))
    done = puffer("env", "check", "walk:SPEC", "--sanitize")
    assert done.returncode == 1
    assert "under AddressSanitizer" in done.stderr
    assert "walk.c" in done.stderr
    assert "out of bounds" in done.stderr or "global-buffer-overflow" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["env", "new", "Walk"], 2, "must be a name in lower case"),
        (["env", "new", "a-b"], 2, "must be a name in lower case"),
        (["env", "build", "nothing.c"], 1, "there is no such file"),
        (["env", "check", "nothing:SPEC"], 1, "no module named 'nothing'"),
        (["env", "check", "gymnasium:nothing:It-v0"], 1, "cannot be made: ModuleNotFoundError at "),
        (["env", "check", "cartpol"], 2, "did you mean cartpole"),
        (["env", "build", "."], 1, "there is no such file"),
        (["env", "build", __file__], 2, "must be a C file"),
        (["env", "check", ":SPEC"], 2, "must be module:attribute"),
        (["env", "check", ".walk:SPEC"], 2, "must be module:attribute"),
        (["env", "check", "walk:"], 2, "must be module:attribute"),
        (["env", "new", "class"], 2, "a keyword of Python; choose another name, like `my_class`"),
        (["env", "new", "json"], 2, "a module of Python's own"),
        (["env", "new", "walk", "--language", "rust"], 2, "--language 'rust' is none of python, numpy, c"),
        (["env"], 2, "ACTION"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, code, message):
    assert main(arguments) == code
    assert message in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_nothing_is_overwritten_and_compilers_are_quoted(capsys, monkeypatch):
    assert main(["env", "new", "walk", "--language", "c"]) == 0
    assert main(["env", "new", "walk"]) == 1
    assert "walk.py exists and is not overwritten" in capsys.readouterr().err
    Path("wrong.c").write_text("int x = ;")
    assert main(["env", "build", "wrong.c"]) == 1
    assert "wrong.c does not compile" in capsys.readouterr().err
    Path("empty.c").write_text("int x;")
    assert main(["env", "build", "empty.c", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["library"].endswith("libempty.so")
    monkeypatch.setenv("CC", "no_such_compiler")
    with pytest.raises(EnvError, match=r"CC=no_such_compiler: the C compiler 'no_such_compiler' cannot be run"):
        build(Path("walk.c"))
    done = puffer("env", "check", "walk:SPEC", "--sanitize")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "CC=no_such_compiler" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise ValueError('first\\nsecond')", "cannot be imported: ValueError at {file}:2: first second"),
        ("x = 1\nx = = 2", "cannot be imported: SyntaxError at {file}:2: invalid syntax"),
        ("import numpy\nnumpy.nothing", "cannot be imported: AttributeError at {file}:2: module 'numpy' has no"),
        ("import nothing_here", "cannot be imported: ModuleNotFoundError at {file}:1: No module named 'nothing_here'"),
        ("def make():\n    raise OSError", "cannot be made by make(): OSError at {file}:2\n"),
        ("def make(num_envs):\n    return 1 / 0", "cannot be made by make(num_envs=1): ZeroDivisionError at {file}:2: "),
        ("def make(size): ...", "cannot be made by make(): TypeError: make() missing 1 required positional argument: 'size'"),
        ("def makes(): ...", "faulty has no 'make'; did you mean makes?"),
    ],
)
def test_a_fault_in_the_file_of_an_environment_is_one_line_that_says_where(text, message):
    Path("faulty.py").write_text(text)
    done = puffer("train", "faulty:make")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert message.format(file=Path("faulty.py").resolve()) in done.stderr
    done = puffer("env", "check", "faulty:make", "--debug")
    assert "direct cause" in done.stderr
