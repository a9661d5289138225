"""`puffer export onnx`."""

from __future__ import annotations

import argparse
import json

HELP = "write the policy of a checkpoint as an ONNX file, compared with the policy before it is written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds those of this command."""
    parser.add_argument("--checkpoint", metavar="PATH", required=True, help="checkpoint or run folder")
    parser.add_argument("--out", metavar="FILE", required=True, help="the file; its folder must exist")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Exports; prints a few lines, or with --json one object."""
    from pufferlib_core.backends import get_backend

    result = get_backend("onnxruntime", "export-onnx").export(args.checkpoint, args.out, force=args.force)
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"{result['file']}: {result['bytes']:,} bytes, opset {result['opset']}, {result['env']}")
    print(f"reads {', '.join(result['inputs'])}; gives {', '.join(result['outputs'])}")
    worst = ", ".join(f"{name} {difference:.1e}" for name, difference in result["differences"].items())
    print(f"largest differences from {result['compared_with']}, relative: {worst}")
    return 0
