"""The `puffer` command: reads arguments, calls the libraries, prints one readable line for each mistake."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import NoReturn, TypeAlias

from pufferlib_core import __version__
from pufferlib_core.errors import ConfigError, suggest

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

INTERRUPTED = 130
CHOICE = re.compile(r"argument (.*): invalid choice: '(.*?)' \(choose from (.*)\)")
NEGATIVE = re.compile(r"-(\d|\.\d|inf)")  # begins a value, and no option


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Ends the program; see the base class."""
        hint = ""
        if found := CHOICE.search(message):
            argument, given, known = found.groups()
            names = [name.strip(" '") for name in known.split(",")]
            message = f"{f'{argument} ' if argument.startswith('-') else ''}{given!r} is none of {', '.join(names)}"
            hint = suggest(given, names)
        self.exit(2, f"{self.prog}: {message}{hint or f'; see {self.prog} --help'}\n")


def parser() -> argparse.ArgumentParser:
    """The arguments of every subcommand. Options of sections (`--ppo.gamma 0.98`) are read by `options.sections`."""
    top = Parser(prog="puffer", description="Train, evaluate and run reinforcement-learning policies.")
    top.add_argument("--version", action="version", version=f"puffer {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _train(commands)
    _eval(commands)
    _bench(commands)
    _list(commands)
    _demo(commands)
    _env(commands)
    _command(commands, "doctor", "show what is installed, what this machine can do, and what is wrong")
    _parity(commands)
    _contributed(commands)
    return top


def _contributed(commands: Commands) -> None:
    """Subcommands that packages bring, entry points of the group `pufferlib.commands`; `export.onnx` is one of a group.

    Each is a module with `HELP`, a line; `arguments(parser)`, which adds its own; and `run(args, rest)`, which gives the exit
    code. Importing it must load nothing heavy.

    Raises:
        ConfigError: if two packages bring the same name, or one that is built in.
    """
    groups: dict[str, Commands] = {}
    owners = dict.fromkeys(commands.choices, "pufferlib-cli")
    entries = sorted(entry_points(group="pufferlib.commands"), key=lambda entry: entry.name)
    for entry in entries:
        group, _, name = entry.name.rpartition(".")
        owner, parent = entry.dist.name if entry.dist else "?", commands
        taken = entry.name if entry.name in owners else group
        if taken in owners and taken not in groups:
            raise ConfigError(f"command {entry.name!r} is brought by {owners[taken]} and {owner}: uninstall one")
        if group:
            if group not in groups:
                own = ", ".join(
                    sorted(entry.name.rpartition(".")[2] for entry in entries if entry.name.startswith(f"{group}."))
                )
                top = commands.add_parser(group, help=f"{own}: see puffer {group} --help", allow_abbrev=False)
                groups[group] = top.add_subparsers(dest="action", metavar="ACTION", required=True)
            parent = groups[group]
        owners[entry.name] = owner
        module = entry.load()
        sub = _command(parent, name, module.HELP)
        module.arguments(sub)
        sub.set_defaults(run=module.run)


def _command(commands: Commands, name: str, help: str, epilog: str = "") -> argparse.ArgumentParser:
    sub = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", epilog=epilog, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sub.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object on standard output, and nothing else",
    )
    sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    sub.set_defaults(prog=sub.prog)  # with which messages begin
    return sub


def _train(commands: Commands) -> None:
    epilog = """further settings:
  --SECTION.OPTION VALUE   for example --ppo.gamma 0.98 --policy.hidden 128,128 (`puffer list --options` shows all)
  PUFFER_SECTION__OPTION   the same from the environment: PUFFER_PPO__GAMMA=0.98
rank: flags > environment variables > --config > preset of the environment > defaults

examples:
  puffer train cartpole
  puffer train pendulum --seed 3 --timesteps 200000 --ppo.learning_rate 3e-4
  puffer train --resume runs/cartpole-ppo-s0-20260101T000000Z
  puffer train cartpole --checkpoint-every 50000 --resume auto      (the same line again after a crash goes on)"""
    sub = _command(commands, "train", "train a policy", epilog)
    sub.add_argument("env", metavar="ENV", nargs="?", help="environment: a native name or module:factory")
    sub.add_argument("--algorithm", help="default: ppo")
    sub.add_argument("--backend", help="default: native")
    sub.add_argument("--timesteps", metavar="N", help="environment steps in total; switches early stopping off")
    sub.add_argument("--num-envs", metavar="N", help="environments stepped together")
    sub.add_argument("--threads", metavar="N", help="of the C core")
    sub.add_argument("--seed", metavar="S", help="default: 0")
    sub.add_argument("--config", metavar="FILE.toml", help="settings by section")
    sub.add_argument(
        "--resume",
        metavar="PATH",
        help="checkpoint or run folder to continue, with its settings; auto: the newest run of ENV, algorithm and seed "
        "under --out that has a checkpoint that loads, or a new one",
    )
    sub.add_argument("--checkpoint-every", metavar="STEPS", help="environment steps between checkpoints")
    sub.add_argument("--keep", metavar="N", help="newest checkpoints that stay, besides best; default: all")
    sub.add_argument("--evaluate-every", metavar="STEPS", help="environment steps between evaluations; best goes by them")
    sub.add_argument("--evaluate-episodes", metavar="N", help="episodes of an evaluation; default: 100")
    sub.add_argument("--out", metavar="DIR", help="where run folders go; default: runs")


def _eval(commands: Commands) -> None:
    epilog = "settings of the back end: --BACKEND.OPTION VALUE, for example --onnxruntime.providers cuda,cpu"
    sub = _command(commands, "eval", "evaluate a checkpoint", epilog)
    sub.add_argument("env", metavar="ENV")
    sub.add_argument("--checkpoint", metavar="PATH", required=True, help="checkpoint, run folder or exported policy (.onnx)")
    sub.add_argument("--backend", default="native", help="that acts; default: native")
    sub.add_argument("--episodes", metavar="N", default="100", help="default: 100")
    sub.add_argument("--seed", metavar="S", default="0", help="default: 0")
    sub.add_argument("--stochastic", action="store_true", help="sample actions instead of taking the most likely")
    sub.add_argument("--render", action="store_true", help="draw an episode in the terminal as well")


def _bench(commands: Commands) -> None:
    sub = _command(commands, "bench", "measure speed on this machine, beside a yardstick of the same run")
    sub.add_argument("env", metavar="ENV", nargs="?", default="cartpole", help="default: cartpole")
    sub.add_argument("--mode", choices=("sim", "infer", "train", "kernels"), help="default: all")
    sub.add_argument("--num-envs", metavar="N", default="4096", help="default: 4096")
    sub.add_argument("--threads", metavar="N", default="0", help="default: one for each processor")
    sub.add_argument("--seconds", metavar="S", default="1", help="of each measurement; default: 1")


def _list(commands: Commands) -> None:
    sub = _command(commands, "list", "list environments, algorithms and back ends")
    sub.add_argument("--options", action="store_true", help="every setting with its default")


def _demo(commands: Commands) -> None:
    sub = _command(commands, "demo", "watch an episode in the terminal, played by a checkpoint, at random, or by you")
    sub.add_argument("env", metavar="ENV")
    sub.add_argument("--checkpoint", metavar="PATH", help="checkpoint or run folder; without it, random actions")
    sub.add_argument("--backend", default="native", help="that acts; default: native")
    sub.add_argument("--play", action="store_true", help="play yourself, by keyboard")
    sub.add_argument("--steps", metavar="N", default="200", help="default: 200")
    sub.add_argument("--fps", metavar="F", default="50", help="frames a second; 0: as fast as possible; default: 50")
    sub.add_argument("--seed", metavar="S", default="0", help="default: 0")


def _env(commands: Commands) -> None:
    top = commands.add_parser("env", help="begin, build and check an environment of your own", allow_abbrev=False)
    actions = top.add_subparsers(dest="action", metavar="ACTION", required=True)
    sub = _command(actions, "new", "write a small environment that works, in this folder, to begin from")
    sub.add_argument("name", metavar="NAME", help="in lower case, as Python imports it")
    sub.add_argument("--language", choices=("python", "numpy", "c"), default="python", help="default: python")
    sub = _command(actions, "build", "compile an environment in C against the installed headers")
    sub.add_argument("source", metavar="FILE.c")
    sub.add_argument("--sanitize", action="store_true", help="for AddressSanitizer and UndefinedBehaviorSanitizer")
    sub = _command(actions, "check", "run an environment against the contract")
    sub.add_argument("env", metavar="ENV", help="a native name or module:attribute")
    sub.add_argument("--sanitize", action="store_true", help="an environment in C under the sanitizers")


def _parity(commands: Commands) -> None:
    sub = _command(
        commands, "parity", "compare back ends with the formulas and with each other, on small policies of every kind"
    )
    sub.add_argument(
        "--backends", metavar="A,B", help="the first is what the updates of others are compared with; default: all"
    )
    sub.add_argument("--case", metavar="NAME", help="one kind of policy, as the first column names it; default: all")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit code: 0 done, 1 failure, 2 usage, 130 interrupted.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called: what is printed goes nowhere
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (it lives as long as the process)
    try:
        known, settings = _settings(sys.argv[1:] if argv is None else argv)
        args, rest = parser().parse_known_args(known)
        rest = [*settings, *rest]
    except ConfigError as error:
        print(f"puffer: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("puffer: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:  # argparse has printed help, or the mistake
        return stop.code if isinstance(stop.code, int) else 2
    if args.command not in ("train", "eval") and rest:
        print(f"{args.prog}: unknown argument {rest[0]}; see {args.prog} --help", file=sys.stderr)
        return 2
    return _run(args, rest)


def _settings(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the parser knows; and `--section.option VALUE`, which it does not: it would take VALUE for an environment.

    It would also take the numbers of `--low -1,-2` for options: they are handed to it as `--low=-1,-2`.
    """
    known: list[str] = []
    settings: list[str] = []
    waiting = False  # for the value of a setting
    for argument in argv:
        flag, equals, _ = argument.partition("=")
        setting = flag.startswith("--") and "." in flag
        taken = setting or (waiting and not argument.startswith("--"))
        if not taken and NEGATIVE.match(argument) and known and known[-1].startswith("--") and "=" not in known[-1]:
            known[-1] += "=" + argument
        else:
            (settings if taken else known).append(argument)
        waiting = setting and not equals
    return known, settings


def _run(args: argparse.Namespace, rest: list[str]) -> int:
    import importlib

    from pufferlib_core.errors import PufferError, UnknownName

    if ":" in (getattr(args, "env", None) or ""):
        sys.path.insert(0, os.getcwd())  # `module:attribute` beside which one works
    try:
        run = getattr(args, "run", None) or importlib.import_module(f"pufferlib_cli.commands.{args.command}").run
        code = int(run(args, rest))
        sys.stdout.flush()
        return code
    except PufferError as error:
        if args.debug:
            raise
        print("\n  ".join([f"{args.prog}: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 2 if isinstance(error, (ConfigError, UnknownName)) else 1
    except KeyboardInterrupt:
        print(f"{args.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if args.debug:
            raise
        if not isinstance(error, BrokenPipeError):  # else whoever read the output has left
            print(f"{args.prog}: {error}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # the interpreter must not complain on exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
