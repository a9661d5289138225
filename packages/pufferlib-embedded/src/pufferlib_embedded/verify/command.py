"""`puffer verify`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pufferlib_embedded.verify.states import Progress

HELP = "prove how far the actions of a policy can change, over boxes of observations, or find where they do"
INTERRUPTED = 130


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds those of this command."""
    parser.epilog = """one of two questions:
  --epsilon E            which observations keep their greedy action within +-E? (--observations, or those of a rollout)
  --low ... --high ...   what are the bounds of every head in this box, and is the action always the same?
exit status: 0 certified (or bounds alone were asked for); 1 a counterexample, or unknown; 2 usage; 130 interrupted

examples:
  puffer verify --checkpoint runs/cartpole-... --epsilon 0.01
  puffer verify --checkpoint runs/cartpole-... --low -0.1,-0.1,0.1,0.1 --high 0.1,0.1,0.2,0.2"""
    parser.add_argument("--checkpoint", metavar="PATH", required=True, help="checkpoint or run folder, of an MLP policy")
    parser.add_argument("--epsilon", metavar="E", help="reach of the box around each observation")
    parser.add_argument("--relative", action="store_true", help="--epsilon is in deviations of the normaliser")
    parser.add_argument("--observations", metavar="FILE.npy", help="(N, numbers); default: of greedy episodes")
    parser.add_argument("--states", metavar="N", help="of those episodes; default: 100")
    parser.add_argument("--seed", metavar="S", help="of those episodes; default: 0")
    parser.add_argument("--low", metavar="A,B,...", help="lower ends of one box; one number stands for all")
    parser.add_argument("--high", metavar="A,B,...", help="its upper ends")
    parser.add_argument("--tolerance", metavar="T", help="of a head's bounds, relative to its range; default: 0.02")
    parser.add_argument(
        "--boxes", metavar="N", help="parts to look at where a box is split, of each state or bound; default: 4096"
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Verifies; prints a table, or with --json one object."""
    from pufferlib_core.errors import ConfigError, ShapeError

    try:
        report = _verified(args)
    except ShapeError as error:  # of --low, --high or --observations: a mistake of usage, which must not look like a verdict
        raise ConfigError(str(error)) from error
    if args.json:
        print(json.dumps(report, allow_nan=False))
    else:
        _show(report)
    if report["interrupted"]:
        return INTERRUPTED
    return 0 if report["verdict"] in ("certified", "bounded") else 1


def _verified(args: argparse.Namespace) -> dict[str, Any]:
    from pufferlib_core.errors import ConfigError

    from pufferlib_embedded.model import Model
    from pufferlib_embedded.verify.boxes import read_file
    from pufferlib_embedded.verify.report import verify_box, verify_states
    from pufferlib_embedded.verify.rollout import rollout

    box = args.low is not None or args.high is not None
    if box == (args.epsilon is not None) or (box and None in (args.low, args.high)):
        raise ConfigError("verify takes either --epsilon E, or --low and --high: see puffer verify --help")
    _check_belongs(args, box)
    options = {} if args.boxes is None else {"boxes": _number(args.boxes, "--boxes", int)}
    try:
        model = Model(args.checkpoint)
    except ConfigError as error:
        raise ConfigError(f"verify takes what can be exported: {error}") from error
    with _progress(args.json) as progress:
        if box:
            if args.tolerance is not None:
                options["tolerance"] = _number(args.tolerance, "--tolerance", float)
            ends = (_numbers(args.low, "--low"), _numbers(args.high, "--high"))
            return verify_box(model, *ends, progress=progress, **options)
        epsilon = _number(args.epsilon, "--epsilon", float)
        if args.observations is not None:
            obs = read_file(model, args.observations)
        else:
            states, seed = _number(args.states or "100", "--states", int), _number(args.seed or "0", "--seed", int)
            if states < 1:
                raise ConfigError(f"--states {states} must be at least 1")
            obs = rollout(args.checkpoint, states, seed)
        return verify_states(model, obs, epsilon=epsilon, relative=args.relative, progress=progress, **options)


def _check_belongs(args: argparse.Namespace, box: bool) -> None:
    """Refuses options of the other question, which would be ignored.

    Raises:
        ConfigError: naming one.
    """
    from pufferlib_core.errors import ConfigError

    foreign = ("observations", "states", "seed") if box else ("tolerance",)
    for name in foreign:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} has no meaning with {'--low and --high' if box else '--epsilon'}: leave it out")
    if box and args.relative:
        raise ConfigError("--relative has no meaning with --low and --high: leave it out")
    if args.observations is not None and (args.states or args.seed):
        raise ConfigError("--states and --seed are those of a rollout, which --observations replaces: leave them out")


def _number(text: str, flag: str, kind: type) -> Any:
    from pufferlib_core.errors import ConfigError

    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{flag} {text}: expected {'a whole number' if kind is int else 'a number'}") from error


def _numbers(text: str, flag: str) -> list[float]:
    return [_number(part, flag, float) for part in text.split(",")]


@contextmanager
def _progress(silent: bool) -> Iterator[Progress]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=silent or not console.is_terminal) as bar:
        task = bar.add_task("verifying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(report: dict[str, Any]) -> None:
    print(f"{report['env']}, step {report['checkpoint']['step']:,}, {report['precision']}")
    if report["question"] == "box":
        _show_heads(report)
    elif "counts" in report:
        counts, by = report["counts"], report["by"]
        unit = " deviations" if report["relative"] else ""
        print(
            f"{counts['certified']} of {report['states']} observations ({report['certified_fraction']:.1%}) certainly keep "
            f"their action within +-{report['epsilon']:g}{unit}; {counts['counterexample']} do not; {counts['unknown']} unknown"
        )
        print(f"decided by intervals {by['ibp']}, by CROWN {by['crown']}, by splitting {by['splitting']}")
    for a, number in enumerate(report.get("numbers", ())):
        within = f"; within one box it moves by {number['widest']:.6g} at most" if report["question"] == "states" else ""
        print(f"number {a} of an action: certainly in [{number['low']:.6g}, {number['high']:.6g}]{within}")
    for example in report.get("counterexamples", ())[:3]:
        print(f"action {example['choices']} at  {_listed(example['observation'])}")
        print(f"   but {example['changed_choices']} at  {_listed(example['changed_observation'])}")
    closing = {
        "certified": "certified",
        "bounded": "bounded: there is no choice that could change",
        "counterexample": "not robust: the policy itself was run on the counterexample",
        "unknown": "unknown: neither proved nor refuted; --boxes allows more work",
    }
    print(closing[report["verdict"]] + (" (interrupted: what was not looked at is unknown)" if report["interrupted"] else ""))


def _show_heads(report: dict[str, Any]) -> None:
    columns = ("ibp", "crown", "certified", "seen")
    print(f"{'head':>4}" + "".join(f"  {name:>23}" for name in columns) + f"  {'excess':>7}")
    for k, head in enumerate(report["heads"]):
        cells = "".join(f"  [{head[name][0]:>10.4g},{head[name][1]:>10.4g}]" for name in columns)
        print(f"{k:>4}{cells}  {'-' if head['excess'] is None else format(head['excess'], '.1%'):>7}")
    if "counts" in report:
        kept = {"certified": "always", "counterexample": "not always", "unknown": "perhaps always"}[report["verdict"]]
        print(f"the choices are {kept} those at the middle of the box: {report['at_the_middle']}")


def _listed(numbers: list[float]) -> str:
    """To the bit, as float32 is read back; long ones are cut."""
    shown = ", ".join(f"{number:.9g}" for number in numbers[:16])
    return f"[{shown}{', ...' if len(numbers) > 16 else ''}]"
