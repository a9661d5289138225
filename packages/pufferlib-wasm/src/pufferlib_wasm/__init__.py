"""The C core and the native environments as a WebAssembly module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pufferlib_wasm.compile import Kind

__version__ = "0.1.0"
__all__ = ["__version__", "build", "module_path"]


def build(folder: str | Path, *, kind: Kind = "simd", environments: Mapping[str, str | Path] | None = None) -> Path:
    """Compiles a module of the core and environments that are installed; needs the extra `build`.

    Args:
        folder: where the file is written.
        kind: "simd" (`puffer.wasm`) has the 128-bit vectors of WebAssembly, "threads" (`puffer-threads.wasm`) has them and
            works in memory that workers share, "scalar" (`puffer-scalar.wasm`) runs where there are no vectors, more slowly.
        environments: in C of one's own, which the module gets as well: the file of each (`pufferlib_core.c_env`), freestanding
            C99, by the name that Python knows it under (`module:SPEC`).

    Returns:
        The file. The same sources and compiler give the same bytes.

    Raises:
        MissingExtra: if the compiler is not installed.
        BuildError: if there is no such kind, or the compiler fails, with what it said.
        CatalogueError: if an environment is none that a module can hold.
    """
    from pufferlib_wasm.compile import compile_module

    own = {name: Path(source) for name, source in (environments or {}).items()}
    return compile_module(Path(folder), kind, own)


def module_path(*, kind: Kind = "simd") -> Path:
    """The module of a kind (see `build`) that came with this package.

    Raises:
        BuildError: if it is not there, or there is no such kind.
    """
    from pufferlib_wasm.compile import BuildError, file_name

    path = Path(__file__).parent / "playground" / file_name(kind)  # beside the pages that load it
    if not path.is_file():
        raise BuildError(
            f"{path} is missing: install the package again, or make it by "
            f"pufferlib_wasm.build({str(path.parent)!r}, kind={kind!r})"
        )
    return path
