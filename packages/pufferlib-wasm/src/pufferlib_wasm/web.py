"""A checkpoint as a folder for any web server: a page in which its policy plays, proven before it is there."""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Any

from pufferlib_core.checkpoint.publish import check_free, published

from pufferlib_wasm.compile import file_name
from pufferlib_wasm.page import site
from pufferlib_wasm.shown import MODULES, Shown

PAGE = "play.html"  # which becomes index.html
WORKER = re.compile(r"assets/playing-[\w-]+\.js")


def export_web(checkpoint: str | Path, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Writes a page in which the policy of a checkpoint plays, or nothing.

    Args:
        checkpoint: checkpoint or run folder.
        out: the folder, which is made.
        force: replace the folder if it is one that was exported.

    Returns:
        The object of `puffer export web --json`, which is the folder's `report.json` and its place.

    Raises:
        CheckpointError: if the checkpoint is damaged or foreign, or lacks what acting needs.
        ConfigError: if no module plays the policy.
        RunError: if the folder exists or cannot be written, or the page does not act as the policy does here.
        BuildError: if a module is missing, or in a checkout does not compile.
    """
    out = Path(out)
    check_free(out, force)
    shown = Shown(checkpoint)
    where = site()
    with published(out, force) as (folder, work):
        _write(folder, where, shown)
        (script,) = [path for path in folder.glob("assets/*.js") if WORKER.fullmatch(path.relative_to(folder).as_posix())]
        report = {
            "env": shown.env,
            "checkpoint": {"step": shown.said["step"], "sha256": shown.digest},
            "parameters": shown.policy.params,
            "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            **shown.prove(folder, Path(shutil.copy(script, work / "playing.mjs"))),
        }
        (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return {"folder": str(out), **report}


def _write(folder: Path, where: Path, shown: Shown) -> None:
    """Everything but the report."""
    contents = {f"checkpoint/{name}": data for name, data in shown.files().items()}
    contents |= {name: (where / name).read_bytes() for name in reached(where, PAGE)}
    contents |= {file_name(kind): (where / file_name(kind)).read_bytes() for kind in MODULES}
    contents["index.html"] = contents.pop(PAGE)
    contents["LICENSE"] = _licence()
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def reached(pages: Path, first: str) -> list[str]:
    """A page and the assets that it names, however indirectly."""
    assets = {path.name: path.relative_to(pages).as_posix() for path in sorted((pages / "assets").iterdir())}
    found, waiting = [], [first]
    while waiting:
        found.append(waiting.pop())
        text = (pages / found[-1]).read_text(errors="replace")
        waiting += [path for name, path in assets.items() if name in text and path not in (*found, *waiting)]
    return found


def _licence() -> bytes:
    """That of this package, which travels with every copy."""
    return next(file for file in files("pufferlib-wasm") or () if file.name == "LICENSE").read_binary()
