"""Audits what the packages and their development need: licences of everything installed, known vulnerabilities of uv.lock.

A licence outside the list below or a known vulnerability fails. A database that cannot be reached, or that does not know
a package, is reported and does not fail: the network must not decide about a commit.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 240  # seconds for the whole look-up
ALLOWED = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|PSFL|Python Software Foundation|MPL|Mozilla Public|Zlib|CC0)\b", re.IGNORECASE
)
TESTED_WITH = {"pygame-ce"}  # LGPL: games of PettingZoo that tests play need it; nothing of ours is linked to it or ships it
STATED = {"atheris": "Apache-2.0"}  # licences that the metadata leaves out, read in the distribution itself


def licence(distribution: Distribution) -> str:
    """The licence as the metadata states it, the most exact field first."""
    metadata = distribution.metadata
    classifiers = metadata.get_all("Classifier") or []
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    text = metadata.get("License-Expression") or " AND ".join(named) or metadata.get("License") or ""
    return STATED.get(distribution.name, text.strip().partition("\n")[0])


def permitted(text: str) -> bool:
    """Whether every part of an expression (AND) has an alternative (OR) on the list."""
    return all(any(ALLOWED.search(one) for one in part.split(" OR ")) for part in text.split(" AND "))


def licences() -> int:
    """Prints the licences that are not permitted; returns their number."""
    found = {distribution.name: licence(distribution) for distribution in distributions()}
    wrong = {name: text for name, text in sorted(found.items()) if name not in TESTED_WITH and not permitted(text)}
    for name, text in wrong.items():
        print(f"FAIL  licence of {name}: {text or 'not stated'}")
    print(f"{len(found)} licences, {len(wrong)} not permitted")
    return len(wrong)


def looked_up(folder: Path) -> list[dict[str, Any]]:
    """What the database of vulnerabilities says of every locked requirement; empty if there is no answer."""
    requirements = folder / "requirements.txt"
    export = ["export", "--quiet", "--no-emit-workspace", "--all-packages", "--all-groups", "--no-hashes"]
    subprocess.run([os.environ.get("UV", "uv"), *export, "-o", str(requirements)], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "pip_audit", "-r", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        print(f"note  no answer about vulnerabilities ({type(error).__name__})")
        return []
    return found


def vulnerabilities() -> int:
    """Prints known vulnerabilities; returns the number of packages that have one."""
    with tempfile.TemporaryDirectory() as folder:
        found = looked_up(Path(folder))
    wrong = [package for package in found if package.get("vulns")]
    for package in wrong:
        names = ", ".join(f"{v['id']} (fixed in {', '.join(v['fix_versions']) or 'no version'})" for v in package["vulns"])
        print(f"FAIL  {package['name']} {package['version']}: {names}")
    unknown = sum("skip_reason" in package for package in found)
    print(f"{len(found) - unknown} packages looked up, {unknown} unknown to the database, {len(wrong)} vulnerable")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(int(licences() + vulnerabilities() > 0))
