"""Environments in C beside their Python file: compiled when needed, loaded at run time, with typed settings."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pufferlib_core
from pufferlib_core.errors import ConfigError, EnvError
from pufferlib_core.traits import EnvSpec, configurable

FLAGS = ["-std=c11", "-O2", "-g", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra"]
SANITIZED = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def c_env(source: Path, *, config: Any, shape: Callable[[Any], Mapping[str, Any]], **fixed: Any) -> EnvSpec:
    """The environment of a C file of one's own, `<name>.c`, with the function `const void *<name>_table(void)`.

    It is compiled against the installed headers, again when the file has changed, into `lib<name>.so` beside it.

    Args:
        source: the C file.
        config: its default settings, a frozen dataclass whose fields are those of the C struct behind `config`, in their
            order: `int` and `bool` are int32_t, `float` is float.
        shape: the fields of `EnvSpec` that follow from settings.
        **fixed: the other fields.
    """

    def table(isa: int) -> int:
        return _table(build(source, sanitize=os.environ.get("PUFFER_SANITIZE") == "1"), f"{source.stem}_table")

    return configurable(source.stem, config=config, shape=shape, pack=pack_struct, table=table, **fixed)


def pack_struct(config: Any) -> bytes:
    """The C struct of a dataclass of numbers: int and bool as int32_t, float as float, in the order of the fields."""
    values = dataclasses.astuple(config)
    return struct.pack("".join("f" if isinstance(value, float) else "i" for value in values), *values)


def build(source: Path, *, sanitize: bool = False) -> Path:
    """Compiles a C file into a library beside it, if it is older than the file or the headers.

    Args:
        source: the C file.
        sanitize: for AddressSanitizer and UndefinedBehaviorSanitizer, as `lib<name>-sanitized.so`.

    Raises:
        ConfigError: if its name does not end in `.c`.
        EnvError: if there is no such file or no compiler, or with what it complains about.
    """
    if not source.is_file():
        raise EnvError(f"{source}: there is no such file; name a C file, <name>.c")
    if source.suffix != ".c":
        raise ConfigError(f"{source} must be a C file, <name>.c, got {source.suffix or 'no'} as its ending")
    library = source.with_name(f"lib{source.stem}{'-sanitized' if sanitize else ''}.so")
    headers = Path(pufferlib_core.include_dir()).rglob("*.h")
    newest = max(path.stat().st_mtime for path in (source, *headers))
    if library.exists() and library.stat().st_mtime >= newest:
        return library
    options = [*FLAGS, *(SANITIZED if sanitize else []), "-I", pufferlib_core.include_dir(), str(source)]
    try:
        with tempfile.TemporaryDirectory(dir=source.parent, prefix=".building-") as folder:
            made = Path(folder) / library.name
            done = run_compiler(*options, "-o", str(made))
            if done.returncode:
                raise EnvError(f"{source} does not compile:\n{done.stderr.strip()}")
            os.replace(made, library)  # whoever loads it meanwhile keeps the old one
    except OSError as error:
        raise EnvError(f"{library} cannot be built: {error.strerror or error}") from error
    return library


def run_compiler(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the C compiler: what CC names, else cc, gcc or clang.

    Raises:
        EnvError: if there is none, or it cannot be run.
    """
    named = os.environ.get("CC", "").split()
    command = named or [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1]
    if not command:
        raise EnvError("no C compiler; install gcc or clang, or name one in CC")
    try:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        what = f"{'CC=' + ' '.join(named) + ': ' if named else ''}the C compiler {command[0]!r} cannot be run"
        raise EnvError(f"{what} ({error.strerror}); install gcc or clang, or name one in CC") from error


@functools.cache
def _loaded(library: Path, changed: float) -> ctypes.CDLL:
    return ctypes.CDLL(str(library))


def _table(library: Path, symbol: str) -> int:
    try:
        function = getattr(_loaded(library, library.stat().st_mtime), symbol)
    except (OSError, AttributeError) as error:
        raise EnvError(f"{library}: {error}; it must have `const void *{symbol}(void)`") from error
    function.restype = ctypes.c_void_p
    return int(function())
