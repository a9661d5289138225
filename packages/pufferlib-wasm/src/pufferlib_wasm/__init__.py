"""The C core and the native environments as a WebAssembly module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__version__ = "0.1.0"
__all__ = ["__version__", "build", "module_path"]


def build(folder: str | Path, *, simd: bool = True, environments: Mapping[str, str | Path] | None = None) -> Path:
    """Compiles a module of the core and environments that are installed; needs the extra `build`.

    Args:
        folder: where the file is written, `puffer.wasm` or `puffer-scalar.wasm`.
        simd: with the 128-bit vectors of WebAssembly; without, the module also runs where they are missing, more slowly.
        environments: in C of one's own, which the module gets as well: the file of each (`pufferlib_core.c_env`), freestanding
            C99, by the name that Python knows it under (`module:SPEC`).

    Returns:
        The file. The same sources and compiler give the same bytes.

    Raises:
        MissingExtra: if the compiler is not installed.
        BuildError: if it fails, with what it said.
        CatalogueError: if an environment is none that a module can hold.
    """
    from pufferlib_wasm.compile import compile_module

    own = {name: Path(source) for name, source in (environments or {}).items()}
    return compile_module(Path(folder), simd=simd, environments=own)


def module_path(*, simd: bool = True) -> Path:
    """The module that came with this package.

    Raises:
        BuildError: if it is not there.
    """
    from pufferlib_wasm.compile import BuildError, file_name

    path = Path(__file__).parent / file_name(simd)
    if not path.is_file():
        raise BuildError(
            f"{path} is missing: install the package again, or make it by pufferlib_wasm.build({str(path.parent)!r})"
        )
    return path
