"""`puffer parity`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.errors import MissingExtra, UnknownName
from pufferlib_core.testing.backends import COSINE, FORWARD
from pufferlib_core.testing.parity import Gaps, parity
from pufferlib_core.testing.trials import CASES

COLUMNS = {
    "forward": "forward", "logprob": "log-prob.", "entropy": "entropy", "loss": "loss", "gradient": "1 - cosine",
    "one_update": "1 update", "many_updates": "100 updates",
}  # fmt: skip


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Prints the gaps of each back end in each case; exit code 1 if outputs or gradients are beyond their bounds."""
    backends = installed() if args.backends is None else args.backends.split(",")
    cases = list(CASES) if args.case is None else [args.case]
    if cases[0] not in CASES:
        raise UnknownName("case", cases[0], CASES)
    for name in backends:
        get_backend(name, "ppo.update")
    found = []
    if not args.json:
        print(f"{'policy':<34}{'back end':<10}" + "".join(f"{title:>12}" for title in COLUMNS.values()), flush=True)
    for gaps in parity(backends, cases):
        found.append(gaps)
        if not args.json:
            numbers = (getattr(gaps, name) for name in COLUMNS)
            print(
                f"{gaps.case:<34}{gaps.backend:<10}" + "".join(f"{x:>12.1e}" if x else f"{0:>12}" for x in numbers), flush=True
            )
    wrong = [gaps for gaps in found if beyond(gaps)]
    if args.json:
        print(json.dumps({"gaps": [dataclasses.asdict(gaps) for gaps in found], "passed": not wrong}))
    for gaps in wrong:
        print(f"{gaps.backend}, {gaps.case}: forward above {FORWARD:g}, or the cosine below {COSINE:g}", file=sys.stderr)
    return int(bool(wrong))


def beyond(gaps: Gaps) -> bool:
    """Whether outputs or the gradient are further from the formulas than a back end may be."""
    return not (gaps.forward <= FORWARD and 1 - gaps.gradient > COSINE)


def installed() -> list[str]:
    """Back ends that can train here, the native one first."""
    names = []
    for name, spec in backend_specs().items():
        if "ppo.update" in spec.capabilities:
            try:
                spec.load()
            except MissingExtra:
                continue
            names.append(name)
    return sorted(names, key=lambda name: (name != "native", name))
