"""What users import, as it stands in public_api.txt: a change there is a change for them, and belongs into a CHANGELOG.

`uv run python tests/test_public_api.py` writes the file anew.
"""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pufferlib_core
import yaml

HERE = Path(__file__).parent
STORED = HERE / "public_api.txt"


def api() -> str:
    """One line for each public name, with its signature, and one for each public method and property of a class."""
    lines = []
    for name in sorted(pufferlib_core.__all__):
        value = getattr(pufferlib_core, name)
        if not callable(value):
            lines.append(f"{name}: {type(value).__name__}")
            continue
        plain_error = inspect.isclass(value) and issubclass(value, Exception)
        lines.append(name if plain_error else f"{name}{inspect.signature(value)}")
        members = vars(value) if inspect.isclass(value) else {}
        for member, function in sorted(members.items()):
            if member.startswith("_"):
                continue
            plain = function.__func__ if isinstance(function, classmethod | staticmethod) else function
            shape = inspect.signature(plain) if inspect.isfunction(plain) else ""
            lines.append(f"  {name}.{member}{shape}")
    return "\n".join(lines) + "\n"


def test_the_public_names_are_those_on_record():
    assert api() == STORED.read_text(), "run `uv run python tests/test_public_api.py` and say so in the CHANGELOG"


def test_every_public_name_is_explained():
    for name in pufferlib_core.__all__:
        value = getattr(pufferlib_core, name)
        assert not callable(value) or (value.__doc__ and not value.__doc__.startswith(f"{name}(")), name
        for member, function in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_") and (inspect.isfunction(function) or isinstance(function, property)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"  # its own, or the base class's


def test_every_public_name_is_in_the_reference():
    specification = importlib.util.spec_from_file_location("site_hooks", HERE.parent / "tools/site_hooks.py")
    assert specification is not None
    hooks = importlib.util.module_from_spec(specification)
    assert specification.loader is not None
    specification.loader.exec_module(hooks)
    page = hooks.on_page_markdown((HERE.parent / "docs/reference/python.md").read_text())
    directives = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: ")}
    assert directives == set(pufferlib_core.__all__) - {"__version__"}


def test_workflows_say_what_the_documents_say():
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in (HERE.parent / ".github/workflows").glob("*.yml")}
    assert set(workflows) == {"ci", "wheels"}
    steps = [step.get("run", "") for step in workflows["ci"]["jobs"]["check"]["steps"]]
    assert "bash .ci/run" in steps
    matrix = workflows["ci"]["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert {f"packages/{name}" for name in matrix["package"]} <= {
        f"packages/{p.name}" for p in (HERE.parent / "packages").iterdir()
    }


if __name__ == "__main__":
    STORED.write_text(api())
