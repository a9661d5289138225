"""Checks coverage: 85 % in total, 90 % for each module that everything else stands on.

Without an argument it joins what the gates have measured, build/coverage/*, into coverage.json; else it reads such a report.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path, PurePath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "build/coverage"  # a data file of each gate that measures
TOTAL = 85.0
CRITICAL = {"spaces": 90.0, "vector": 90.0, "checkpoint": 90.0}  # modules or subpackages of pufferlib_core


def module_percent(report: dict[str, Any], module: str) -> float | None:
    """Covered share of `pufferlib_core.<module>` in percent; None if the report does not know it."""
    covered = statements = 0
    for name, entry in report["files"].items():
        parts = PurePath(name.replace("\\", "/")).with_suffix("").parts
        if "pufferlib_core" in parts and parts[parts.index("pufferlib_core") + 1 :][:1] == (module,):
            covered += entry["summary"]["covered_lines"]
            statements += entry["summary"]["num_statements"]
    return 100.0 * covered / statements if statements else None


def joined() -> Path:
    """The report of all data files together."""
    path = ROOT / "coverage.json"
    files = sorted(str(file) for file in MEASURED.glob("*"))
    for command in (["combine", "--keep", "--quiet", *files], ["json", "--quiet", "-o", str(path)]):
        env = os.environ | {"COVERAGE_FILE": str(ROOT / "build/.coverage")}
        subprocess.run([sys.executable, "-m", "coverage", *command], cwd=ROOT, env=env, check=True)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path)
    given: Path | None = parser.parse_args().report
    if given is None and not list(MEASURED.glob("*")):
        print(f"{MEASURED.relative_to(ROOT)}: nothing is measured; run the gates tests and peers first")
        return 1
    path = joined() if given is None else given
    if not path.is_file():
        print(f"{path.name}: no such report; run pytest --cov --cov-report=json first")
        return 1
    report = json.loads(path.read_text(encoding="utf-8"))
    shares = {"total": (report["totals"]["percent_covered"], TOTAL)}
    shares |= {module: (module_percent(report, module), floor) for module, floor in CRITICAL.items()}
    failed = False
    for name, (share, floor) in shares.items():
        low = share is None or share < floor
        failed |= low
        shown = "not in the report" if share is None else f"{share:.1f} %"
        print(f"{'FAIL' if low else 'ok  '}  {name:<12} {shown}  (at least {floor:.0f} %)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
