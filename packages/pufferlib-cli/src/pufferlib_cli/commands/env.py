"""`puffer env`: environments of one's own: begin one from a template, build it, check it."""

from __future__ import annotations

import argparse
import json
import keyword
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

from pufferlib_core.c_env import build, run_compiler
from pufferlib_core.errors import ConfigError, EnvError, RunError
from pufferlib_core.testing import check_env
from pufferlib_core.vector import env_spec

TEMPLATES = {
    "python": {"python.py.txt": "{name}.py"},
    "numpy": {"numpy.py.txt": "{name}.py"},
    "c": {"c.c.txt": "{name}.c", "c.py.txt": "{name}.py"},
}


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Does what `args.action` says."""
    return {"new": new, "build": build_library, "check": check}[args.action](args)


def new(args: argparse.Namespace) -> int:
    """Writes the files of a template; never over existing ones."""
    name = args.name
    if not name.isidentifier() or name != name.lower():
        raise ConfigError(f"{name!r} must be a name in lower case that Python can import, like `my_walk`")
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        owner = "a keyword of Python" if keyword.iskeyword(name) else "a module of Python's own, which would come first"
        raise ConfigError(f"{name!r} is {owner}; choose another name, like `my_{name}`")
    made = {Path(target.format(name=name)): template for template, target in TEMPLATES[args.language].items()}
    if existing := [path for path in made if path.exists()]:
        raise RunError(f"{existing[0]} exists and is not overwritten; choose another name or folder")
    title = "".join(part.capitalize() for part in name.split("_"))
    for path, template in made.items():
        text = resources.files("pufferlib_cli").joinpath("templates", template).read_text()
        try:
            path.write_text(text.replace("@name@", name).replace("@Name@", title))
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error
    attribute = title if args.language == "python" else "SPEC"
    names = " and ".join(map(str, made))
    follow = f"puffer env check {name}:{attribute}", f"puffer train {name}:{attribute}"
    print(json.dumps({"files": [str(path) for path in made], "env": f"{name}:{attribute}"}) if args.json else
          f"wrote {names}\nnext: {follow[0]}\n      {follow[1]}")  # fmt: skip
    return 0


def build_library(args: argparse.Namespace) -> int:
    """Compiles a C file; one that has not changed is left as it is."""
    library = build(Path(args.source), sanitize=args.sanitize)
    print(json.dumps({"library": str(library)}) if args.json else f"{library} is up to date")
    return 0


def check(args: argparse.Namespace) -> int:
    """Runs the conformance suite, with --sanitize in a process under AddressSanitizer."""
    if args.sanitize:
        return check_sanitized(args)
    spec = env_spec(args.env)
    check_env(spec)
    said = f"{args.env} keeps the contract: finite, inside its spaces; equal seeds repeat"
    if spec.table:
        said += "; threads and the number of environments change nothing; states restore bit for bit"
    print(json.dumps({"env": args.env, "passed": True}) if args.json else said)
    return 0


def check_sanitized(args: argparse.Namespace) -> int:
    """The same in a child whose C environment is built for the sanitizers.

    Raises:
        EnvError: with the report, if the check fails.
    """
    if env_spec(args.env).table is None:
        raise ConfigError(f"{args.env} is not in C: --sanitize has nothing to look at")
    found = run_compiler("-print-file-name=libasan.so")
    runtime = found.stdout.strip()
    if not Path(runtime).is_absolute():
        raise EnvError(f"{found.args[0]} has no AddressSanitizer runtime (libasan.so); install gcc")
    preload = {"LD_PRELOAD": runtime, "PUFFER_SANITIZE": "1"}
    options = {"ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
    command = [sys.executable, "-m", "pufferlib_cli", "env", "check", args.env, *(["--json"] if args.json else [])]
    done = subprocess.run(command, env=os.environ | preload | options, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvError(f"{args.env} under AddressSanitizer and UndefinedBehaviorSanitizer:\n{done.stderr.strip()}")
    print(done.stdout, end="")
    return 0
