"""`puffer export c`."""

from __future__ import annotations

import argparse
import json
from typing import Any

HELP = "write the policy of a checkpoint as C for a small device, compiled and run before it is written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds those of this command."""
    places(parser)
    precision(parser)
    parser.add_argument(
        "--target", default="host", metavar="NAME", help="host, cortex-m0, -m3, -m4f or -m7, or rv32; default: host"
    )
    parser.add_argument(
        "--closed-loop", action="store_true", help="also run an episode with the environment, in C, on the target"
    )


def places(parser: argparse.ArgumentParser) -> None:
    """Adds what every export to a folder has."""
    parser.add_argument("--checkpoint", metavar="PATH", required=True, help="checkpoint or run folder")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="the folder, which is made in one that exists")
    parser.add_argument("--force", action="store_true", help="replace the folder if it is an exported policy")
    parser.add_argument("--unverified", action="store_true", help="only write: compile, run and measure nothing")


def precision(parser: argparse.ArgumentParser) -> None:
    """Adds what makes integers of a policy, wherever that is done alike."""
    parser.add_argument(
        "--precision", choices=("float32", "int8"), default="float32", help="of weights and numbers; default: float32"
    )
    parser.add_argument(
        "--calibration-steps", type=int, metavar="N",
        help="with int8: rows in the policy's environment that say how large its numbers become; default: 4096",
    )  # fmt: skip


def calibration(args: argparse.Namespace) -> dict[str, int]:
    """`calibration_steps`, if they were given.

    Raises:
        ConfigError: if they have no meaning.
    """
    from pufferlib_core.errors import ConfigError

    if args.calibration_steps is None:
        return {}
    if args.precision != "int8":
        raise ConfigError(f"--calibration-steps has no meaning with --precision {args.precision}: leave it out")
    return {"calibration_steps": args.calibration_steps}


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Exports; prints a few lines, or with --json one object."""
    from pufferlib_embedded.export import export

    result = export(
        args.checkpoint, args.out, target=args.target, precision=args.precision, force=args.force,
        unverified=args.unverified, closed_loop=args.closed_loop, **calibration(args),
    )  # fmt: skip
    if args.json:
        print(json.dumps(result))
        return 0
    print(
        f"{result['folder']}: {result['env']}, {result['parameters']:,} parameters, for {result['target']} ({result['device']})"
    )
    print(f"{result['macs']:,} multiplications a step, {result['state_bytes']:,} bytes of state")
    if "int8" in result:
        print(_integers(result["int8"]))
    if not result["verified"]:
        print("not compiled and not run: report.json holds estimates alone")
        return 0
    if "flash_bytes" in result:
        print(
            f"flash {result['flash_bytes']:,} bytes; memory {result['ram_bytes']:,} bytes, "
            f"of which {result['ram_stack_bytes']:,} are the peak of the stack"
        )
        counted = result["instructions_measured"]
        print(f"a step: {f'{counted:,}' if counted else 'more than 20 million'} instructions under QEMU")
        if counted:
            print(
                f"in {result['slices']} slices of {result['slice_budget']:,}: {result['begin_instructions']:,} to begin, then "
                f"{result['slice_instructions']:,} a slice at most"
            )
    if "episode" in result:
        print(f"an episode with {result['episode']['env']}: {result['episode']['length']} steps, as on the host to the bit")
    print(f"{result['golden_rows']} golden rows repeated; largest difference {result['golden_worst']:.1e}")
    return 0


def _integers(found: dict[str, Any]) -> str:
    """What became of the policy in integers."""
    held_out, played = found["held_out"], found["returns"]
    apart = f"KL {held_out['kl_mean']:.1e} in the mean, {held_out['kl_max']:.1e} at most"
    if held_out["greedy_agreement"] is not None:
        apart += f"; the same choice in {held_out['greedy_agreement']:.2%} of {held_out['rows']:,} rows"
    if held_out["number_difference_max"] is not None:
        apart += f"; numbers differ by {held_out['number_difference_max']:.2g} at most"
    return (
        f"int8 from {found['calibration_rows']:,} rows of calibration: {apart}\n"
        f"mean return of {played['episodes']} episodes: {played['int8']:,.2f} (float32: {played['float32']:,.2f})"
    )
