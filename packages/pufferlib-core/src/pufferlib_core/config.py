"""Typed settings: frozen dataclasses, filled from flags, environment variables, TOML files and presets.

A section is a frozen keyword-only dataclass whose fields are made by `option`. Everything that shows or reads settings
(command line, files, checkpoints, docs) goes through the functions below.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pufferlib_core.errors import ConfigError, suggest

T = TypeVar("T")
Nested = dict[str, Any]


def option(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """A field of a section: its default, one line of help, and what values are legal (bounds included)."""
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


def integer(value: Any) -> int | None:
    """A whole number of Python or NumPy as an int; None for anything else, bool included."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def settings_of(given: Mapping[str, Any] | None, where: str) -> Mapping[str, Any]:
    """Settings as an argument gives them; none for None.

    Raises:
        ConfigError: if it does not map names to values.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"{where} must map names of settings to values, got {given!r}")
    return given


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Builds a section, checking names, types and ranges.

    Raises:
        ConfigError: naming the setting, the rule and what came.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'settings'} is a section of settings, got {values!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in fields:
            close = suggest(key, fields).replace("did you mean ", f"did you mean {prefix}")
            raise ConfigError(f"unknown setting {prefix}{key}{close or '; known: ' + ', '.join(fields)}")
    made = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            made[name] = from_dict(hints[name], value, f"{prefix}{name}")
        else:
            made[name] = checked(value, hints[name], fields[name].metadata, f"{prefix}{name}")
    return cls(**made)


def to_dict(section: Any) -> Nested:
    """The settings of a section as plain nested values (tuples become lists; None is left out)."""
    result: Nested = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            result[field.name] = to_dict(value)
        elif value is not None:
            result[field.name] = list(value) if isinstance(value, tuple) else value
    return result


def parse_value(text: str, annotation: Any, where: str) -> Any:
    """A value from the text of a flag or an environment variable.

    Raises:
        ConfigError: if the text does not read as the type.
    """
    kind, optional = _plain(annotation)
    if optional and text.lower() in ("none", ""):
        return None
    if kind is bool:
        lowered = text.lower()
        if lowered in ("true", "1", "yes", "on"):
            return True
        if lowered in ("false", "0", "no", "off"):
            return False
        raise ConfigError(f"{where} must be true or false, got {text!r}")
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return tuple(parse_value(part.strip(), item, where) for part in text.split(",") if part.strip())
    if kind is int:
        return _integer(text, where)
    if kind is float:
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f"{where} must be a number, got {text!r}") from None
    return text


def _integer(text: str, where: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        pass
    try:
        number = float(text)  # 1e6 is how people write a million
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number != int(number):
        raise ConfigError(f"{where} must be a whole number, got {text!r}")
    return int(number)


def _plain(annotation: Any) -> tuple[Any, bool]:
    """The type without `| None`, and whether None is allowed."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        args = typing.get_args(annotation)
        return next(arg for arg in args if arg is not type(None)), type(None) in args
    return annotation, False


def checked(value: Any, annotation: Any, rules: Mapping[str, Any], where: str) -> Any:
    """A value of a setting, of its type and within its `rules`, the metadata of an `option`.

    Raises:
        ConfigError: if it is neither.
    """
    kind, optional = _plain(annotation)
    if value is None:
        if optional:
            return None
        raise ConfigError(f"{where} must not be empty")
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        return tuple(checked(one, item, rules, f"{where}[{i}]") for i, one in enumerate(value))
    if kind in (int, float) and (number := integer(value)) is not None:
        value = kind(number)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{where} must be {kind.__name__}, got {value!r}")
    _check_rules(value, rules, where)
    return value


def _check_rules(value: Any, rules: Mapping[str, Any], where: str) -> None:
    choices = rules.get("choices") or ()
    if choices and value not in choices:
        raise ConfigError(f"{where}={value!r} must be one of {', '.join(choices)}{suggest(str(value), choices)}")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    low, high = rules.get("low"), rules.get("high")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}={value} must be finite")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"in [{low}, {high}]" if high is not None and low is not None else f"at least {low}"
        raise ConfigError(f"{where}={value} must be {bounds if low is not None else f'at most {high}'}")


def nest(flat: Mapping[str, Any] | None) -> Nested:
    """`{"ppo.gamma": 1}` as `{"ppo": {"gamma": 1}}`; nested mappings are kept.

    Raises:
        ConfigError: if a name is both a setting and a section, or is no text.
    """
    result: Nested = {}
    for key, value in settings_of(flat, "options").items():
        parts = key.split(".")
        at = result
        for part in parts[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise ConfigError(f"{key}: {part} is a setting, not a section")
        leaf = nest(value) if isinstance(value, Mapping) else value
        if isinstance(leaf, dict) and isinstance(at.get(parts[-1]), dict):
            leaf = merge(at[parts[-1]], leaf)
        at[parts[-1]] = leaf
    return result


def merge(*layers: Mapping[str, Any]) -> Nested:
    """Nested settings, later layers over earlier ones."""
    result: Nested = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = merge(result[key], value)
            else:
                result[key] = merge(value) if isinstance(value, Mapping) else value
    return result


def load_toml(path: Path) -> Nested:
    """Settings of a TOML file.

    Raises:
        ConfigError: if it cannot be read, or is not TOML (with the line).
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def dumps_toml(settings: Mapping[str, Any]) -> str:
    """TOML text of nested settings (strings, numbers, booleans and lists of them)."""
    return "\n".join(_toml_lines(settings, "")) + "\n"


def _toml_lines(settings: Mapping[str, Any], section: str) -> list[str]:
    lines = [
        f"{key} = {_toml_value(value)}"
        for key, value in settings.items()
        if not isinstance(value, Mapping) and value is not None
    ]
    if section and lines:
        lines.insert(0, f"[{section}]")
    for key, value in settings.items():
        if isinstance(value, Mapping):
            inner = _toml_lines(value, f"{section}.{key}" if section else key)
            lines += ["", *inner] if lines else inner
    return lines


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(
            f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else {'"': '\\"', "\\": "\\\\"}.get(c, c) for c in value
        )
        return f'"{escaped}"'
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(one) for one in value) + "]"
    return str(value)
