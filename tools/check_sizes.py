"""Reports what passes the size guide. A report only: passing the guide wants a reason, not a split for its own sake."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 8
C_LINES = {".c": 500, ".inl": 500, ".h": 250}
SKIP = {"build", "dist", ".venv", "node_modules", "site"}


def files(*suffixes: str) -> Iterator[Path]:
    """Files of the repository with one of the suffixes."""
    for top in ("packages", "tools", "benchmarks", "examples", "tests"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in suffixes and not SKIP.intersection(path.relative_to(ROOT).parts):
                yield path


def python_findings(path: Path) -> Iterator[str]:
    """What one Python module passes."""
    text = path.read_text(encoding="utf-8")
    where = path.relative_to(ROOT)
    lines = text.count("\n")
    if lines > MODULE_LINES:
        yield f"{where}: {lines} lines (guide {MODULE_LINES})"
    for node in ast.walk(ast.parse(text, str(path))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if length > FUNCTION_LINES:
            yield f"{where}:{node.lineno}: {node.name} has {length} lines (guide {FUNCTION_LINES})"
        if count > PARAMETERS:
            yield f"{where}:{node.lineno}: {node.name} has {count} parameters (guide {PARAMETERS})"


def c_findings(path: Path) -> Iterator[str]:
    """What one C file passes."""
    lines = path.read_text(encoding="utf-8").count("\n")
    if lines > C_LINES[path.suffix]:
        yield f"{path.relative_to(ROOT)}: {lines} lines (guide {C_LINES[path.suffix]})"


def main() -> int:
    findings = [line for path in files(".py") for line in python_findings(path)]
    findings += [line for path in files(*C_LINES) for line in c_findings(path)]
    print("\n".join(findings) if findings else "nothing passes the size guide")
    return 0


if __name__ == "__main__":
    sys.exit(main())
