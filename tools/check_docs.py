"""Executes the Python blocks of the documentation and checks that its links resolve.

Each file is one namespace and one process, run in an empty folder with warnings as errors. A block with `>>>` prompts
is run as a doctest. A block that is not meant to run is not fenced as `python`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
TEST_COMMAND = "uv run --group dev tools/check.py"  # what README names and .ci/run runs
TIMEOUT = 300  # seconds for one file
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*(\w*)")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]^]+\]:\s+<?(\S+?)>?\s*$")
PROGRAM = """
import doctest, sys
namespace = globals()  # that of `__main__`, where `__main__:name` looks
for name, line, source in BLOCKS:
    if ">>>" in source:
        test = doctest.DocTestParser().get_doctest(source, namespace, name, name, line - 1)
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, clear_globs=False)
        namespace.update(test.globs)
        if runner.failures:
            sys.exit(1)
    else:
        exec(compile("\\n" * (line - 1) + source, name, "exec"), namespace)
"""


class Block(NamedTuple):
    """A fenced block: its language, the line of its first line, its text."""

    language: str
    line: int
    text: str


def documents() -> list[Path]:
    """README and the other guides, docs/, and the README of each package."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("packages/*/*.md")]
    return sorted(found)


def split(text: str) -> tuple[list[Block], list[tuple[int, str]]]:
    """The fenced blocks, and the numbered lines outside of them."""
    blocks: list[Block] = []
    prose: list[tuple[int, str]] = []
    fence, language, start, body = "", "", 0, [""]
    for number, line in enumerate(text.splitlines(), start=1):
        match = FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and not match[2]:
                blocks.append(Block(language, start, "\n".join(body) + "\n"))
                fence = ""
            else:
                body.append(line)
        elif match:
            fence, language, start, body = match[1], match[2].lower(), number + 1, []
        else:
            prose.append((number, line))
    return blocks, prose


def anchors(path: Path) -> set[str]:
    """The fragments that headings of a file can be reached by."""
    found: set[str] = set()
    for _, line in split(path.read_text(encoding="utf-8"))[1]:
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            words = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            found.add(words if words not in found else f"{words}-1")
        found.update(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", line))
    return found


def broken_links(path: Path) -> Iterator[str]:
    """Links to files or headings that do not exist. Addresses on the network are not fetched."""
    for number, line in split(path.read_text(encoding="utf-8"))[1]:
        plain = re.sub(r"`[^`]*`", "", line)
        for target in [*LINK.findall(plain), *REFERENCE.findall(plain)]:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, fragment = unquote(target).partition("#")
            where = (path.parent / name).resolve() if name else path
            if not where.exists() or not where.is_relative_to(ROOT):
                yield f"{path.relative_to(ROOT)}:{number}: no such file in the repository: {target}"
            elif fragment and where.suffix == ".md" and fragment not in anchors(where):
                yield f"{path.relative_to(ROOT)}:{number}: no such heading: {target}"


def run_blocks(path: Path) -> tuple[int, str]:
    """Runs the Python blocks of a file; returns their number and, where they fail, the output."""
    name = str(path.relative_to(ROOT))
    blocks = [block for block in split(path.read_text(encoding="utf-8"))[0] if block.language in ("python", "py")]
    if not blocks:
        return 0, ""
    listing = [(name, block.line, block.text) for block in blocks]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "blocks.py"
        script.write_text(f"BLOCKS = {listing!r}\n{PROGRAM}", encoding="utf-8")
        work = Path(folder) / "work"
        work.mkdir()
        try:
            done = subprocess.run(
                [sys.executable, "-W", "error", str(script)],
                cwd=work,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT,
                env=os.environ | {"PYTHONPATH": ""},
                check=False,
            )
        except subprocess.TimeoutExpired:
            return len(blocks), f"no end in {TIMEOUT} s"
    return len(blocks), "" if done.returncode == 0 else f"{done.stdout.rstrip()}\nexit status {done.returncode}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="*", type=Path, help="only these files")
    chosen = [path.resolve() for path in parser.parse_args().file]
    failures = 0
    readme = ROOT / "README.md"
    if not chosen and (not readme.exists() or TEST_COMMAND not in readme.read_text(encoding="utf-8")):
        print(f"FAIL  README.md does not name the test command: {TEST_COMMAND}")
        failures += 1
    for path in chosen or documents():
        start = time.monotonic()
        links = list(broken_links(path))
        count, output = run_blocks(path)
        failed = bool(links or output)
        failures += failed
        seconds = time.monotonic() - start
        print(f"{'FAIL' if failed else 'ok  '}  {path.relative_to(ROOT)}: {count} blocks, {seconds:.1f} s", flush=True)
        print("\n".join([*links, output]).strip(), end="\n" if failed else "")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
