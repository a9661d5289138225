"""`puffer verify`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pufferlib_embedded.command import precision

if TYPE_CHECKING:
    from pufferlib_embedded.verify.states import Progress

MOST_STATES = 1_000_000
HELP = "prove how far the actions of a policy can change, over boxes of observations, or find where they do"
INTERRUPTED = 130
BY = {"ibp": "intervals", "crown": "CROWN", "points": "points tried"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds those of this command."""
    parser.epilog = """one of two questions:
  --epsilon E            which observations keep their greedy action within +-E? (--observations, or those of a rollout)
  --low ... --high ...   what are the bounds of every head in this box, and is the action always the same?
with --precision int8, of the integers that puffer export c writes: exactly, by z3
exit status: 0 certified (or bounds alone were asked for); 1 a counterexample, or unknown; 2 usage; 130 interrupted

examples:
  puffer verify --checkpoint runs/cartpole-... --epsilon 0.01
  puffer verify --checkpoint runs/cartpole-... --low -0.1,-0.1,0.1,0.1 --high 0.1,0.1,0.2,0.2
  puffer verify --checkpoint runs/cartpole-... --precision int8 --epsilon 0.05 --relative"""
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
    precision(parser)
    parser.add_argument("--within", metavar="A,B", help="with int8: does every number of an action stay in this range?")
    parser.add_argument("--seconds", metavar="S", help="with int8: that z3 may take for each box; default: 10")


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

    box = args.low is not None or args.high is not None
    if box == (args.epsilon is not None) or (box and None in (args.low, args.high)):
        raise ConfigError("verify takes either --epsilon E, or --low and --high: see puffer verify --help")
    _check_belongs(args, box)
    options = _options(args)
    model = _model(args)
    with _progress(args.json) as progress:
        if box:
            from pufferlib_embedded.verify.report import verify_box
            from pufferlib_embedded.verify.report8 import verify_box8

            ends = (_numbers(args.low, "--low"), _numbers(args.high, "--high"))
            return (verify_box8 if args.precision == "int8" else verify_box)(model, *ends, progress=progress, **options)
        from pufferlib_embedded.verify.report import verify_states
        from pufferlib_embedded.verify.report8 import verify_states8

        options |= {"epsilon": _number(args.epsilon, "--epsilon", float), "relative": args.relative}
        verified = verify_states8 if args.precision == "int8" else verify_states
        return verified(model, _observations(args, model), progress=progress, **options)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """How hard to try, and with int8 what else to ask."""
    found: dict[str, Any] = {}
    for name, kind in (("boxes", int), ("tolerance", float), ("seconds", float)):
        if getattr(args, name) is not None:
            found[name] = _number(getattr(args, name), f"--{name}", kind)
    if args.within is not None:
        found["within"] = tuple(_numbers(args.within, "--within"))
    return found


def _model(args: argparse.Namespace) -> Any:
    from pufferlib_core.errors import ConfigError

    from pufferlib_embedded.command import calibration
    from pufferlib_embedded.model import Model
    from pufferlib_embedded.model8 import Model8

    given = calibration(args)
    try:
        return Model8(args.checkpoint, **given) if args.precision == "int8" else Model(args.checkpoint)
    except ConfigError as error:
        raise ConfigError(f"verify takes what can be exported: {error}") from error


def _observations(args: argparse.Namespace, model: Any) -> Any:
    """Those of a file, or of a rollout."""
    from pufferlib_core.errors import ConfigError

    from pufferlib_embedded.rollouts import environment, rollout
    from pufferlib_embedded.verify.boxes import read_file

    if args.observations is not None:
        return read_file(model, args.observations)
    states, seed = _number(args.states or "100", "--states", int), _number(args.seed or "0", "--seed", int)
    if not 1 <= states <= MOST_STATES:
        raise ConfigError(f"--states {states} must be in [1, {MOST_STATES}]")
    env = environment(model.checkpoint, model.spec, instead="give observations with --observations FILE.npy")
    return rollout(model.checkpoint, env, model.spec, rows=states, seed=seed, greedy=True, envs=8).rows[:states]


def _check_belongs(args: argparse.Namespace, box: bool) -> None:
    """Refuses options of the other question or precision, which would be ignored.

    Raises:
        ConfigError: naming one.
    """
    from pufferlib_core.errors import ConfigError

    foreign = ("observations", "states", "seed") if box else ("tolerance",)
    for name in foreign:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} has no meaning with {'--low and --high' if box else '--epsilon'}: leave it out")
    for name in ("boxes", "tolerance") if args.precision == "int8" else ("within", "seconds"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} has no meaning with --precision {args.precision}: leave it out")
    if args.within is not None and args.within.count(",") != 1:
        raise ConfigError(f"--within {args.within}: expected two numbers, as in --within -0.5,0.5")
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
        counts = report["counts"]
        unit = " deviations" if report["relative"] else ""
        print(
            f"{counts['certified']} of {report['states']} observations ({report['certified_fraction']:.1%}) certainly keep "
            f"their action within +-{report['epsilon']:g}{unit}; {counts['counterexample']} do not; {counts['unknown']} unknown"
        )
        print(f"decided {', '.join(f'by {BY.get(name, name)} {count}' for name, count in report['by'].items())}")
    for a, number in enumerate(report.get("numbers", ())):
        within = f"; within one box it moves by {number['widest']:.6g} at most" if report["question"] == "states" else ""
        print(f"number {a} of an action: certainly in [{number['low']:.6g}, {number['high']:.6g}]{within}")
    for example in report.get("counterexamples", ())[:3]:
        before, after = (example[f"{k}choices"] + example.get(f"{k}numbers", []) for k in ("", "changed_"))
        print(f"action {before} at  {_listed(example['observation'])}")
        print(f"   but {after} at  {_listed(example['changed_observation'])}")
    int8 = report["precision"] == "int8"
    closing = {
        "certified": "certified",
        "bounded": "bounded: there is no choice that could change",
        "counterexample": f"not robust: {'the exported C was' if int8 else 'the policy itself was'} run on the counterexample",
        "unknown": f"unknown: neither proved nor refuted; {'--seconds' if int8 else '--boxes'} allows more work",
    }
    print(closing[report["verdict"]] + (" (interrupted: what was not looked at is unknown)" if report["interrupted"] else ""))


def _show_heads(report: dict[str, Any]) -> None:
    columns = [name for name in report["heads"][0] if name != "excess"]
    excess = "excess" in report["heads"][0]
    print(f"{'head':>4}" + "".join(f"  {name:>23}" for name in columns) + (f"  {'excess':>7}" if excess else ""))
    for k, head in enumerate(report["heads"]):
        cells = "".join(f"  [{head[name][0]:>10.4g},{head[name][1]:>10.4g}]" for name in columns)
        far = "-" if head.get("excess") is None else f"{head['excess']:.1%}"
        print(f"{k:>4}{cells}" + (f"  {far:>7}" if excess else ""))
    if "counts" in report and report.get("within") is None:
        kept = {"certified": "always", "counterexample": "not always", "unknown": "perhaps always"}[report["verdict"]]
        print(f"the choices are {kept} those at the middle of the box: {report['at_the_middle']}")


def _listed(numbers: list[float]) -> str:
    """To the bit, as float32 is read back; long ones are cut."""
    shown = ", ".join(f"{number:.9g}" for number in numbers[:16])
    return f"[{shown}{', ...' if len(numbers) > 16 else ''}]"
