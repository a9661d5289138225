"""`puffer export rust`."""

from __future__ import annotations

import argparse
import json

from pufferlib_embedded.command import places

HELP = "write the policy of a checkpoint as a Rust crate without unsafe, built and tested before it is written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds those of this command."""
    places(parser)
    parser.add_argument(
        "--precision", choices=("float32", "int8"), default="float32", help="float32 alone: integers are written by export c"
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Exports; prints a few lines, or with --json one object."""
    from pufferlib_core.errors import ConfigError

    from pufferlib_embedded.rust import export_rust

    if args.precision != "float32":
        raise ConfigError(
            f"export rust writes no {args.precision}, the crate computes in float32 alone: puffer export c --precision "
            f"{args.precision} writes integers as C"
        )
    result = export_rust(args.checkpoint, args.out, force=args.force, unverified=args.unverified)
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"{result['folder']}: {result['env']}, {result['parameters']:,} parameters, a crate named policy")
    print(f"{result['macs']:,} multiplications a step, {result['state_bytes']:,} bytes of state")
    if not result["verified"]:
        print("not built and not tested")
        return 0
    print(f"{result['golden_rows']} golden rows repeated; largest difference {result['golden_worst']:.1e}")
    return 0
