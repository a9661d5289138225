"""`puffer export web`."""

from __future__ import annotations

import argparse
import json

HELP = "write a page in which the policy of a checkpoint plays, for any web server; played and compared before it is written"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds those of this command."""
    parser.add_argument("--checkpoint", metavar="PATH", required=True, help="checkpoint or run folder")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="the folder, which is made in one that exists")
    parser.add_argument("--force", action="store_true", help="replace the folder if it is an exported policy")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Exports; prints a few lines, or with --json one object."""
    from pufferlib_wasm.web import export_web

    result = export_web(args.checkpoint, args.out, force=args.force)
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"{result['folder']}: {result['env']}, {result['parameters']:,} parameters; {result['bytes']:,} bytes")
    if result["verified"]:
        print(f"{result['rows']:,} steps of it in each module under node {result['node']}: greedy actions as here")
    else:
        print(f"not played before it was written: {result['unverified_because']}")
    print(f"to see it: python -m http.server --directory {result['folder']}, then http://localhost:8000/")
    return 0
