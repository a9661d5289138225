"""How a public name leaves: it warns for two minor releases, then it goes (MIGRATION.md)."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T", bound=Callable[..., Any])


def deprecated(since: str, use: str) -> Callable[[T], T]:
    """Lets a function, method or class warn whenever it is called.

    Args:
        since: the release that deprecates it, `major.minor`; it works in that one and the next, and goes in the one after.
        use: what to call instead.

    Returns:
        A decorator, which also says so in the first paragraph of the docstring.

    Raises:
        ValueError: if `since` is not `major.minor`.
    """
    major, minor = map(int, since.split("."))

    def decorate(target: T) -> T:
        message = f"{target.__qualname__} is deprecated since {since} and goes in {major}.{minor + 2}; use {use}"
        result: Any = target
        called = result.__init__ if inspect.isclass(target) else target

        @functools.wraps(called)
        def warn(*args: Any, **kwargs: Any) -> Any:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return called(*args, **kwargs)

        if inspect.isclass(target):
            result.__init__ = warn
        else:
            result = warn
        result.__doc__ = f"Deprecated since {since}: use {use}.\n\n{inspect.getdoc(target) or ''}".rstrip()
        return cast(T, result)

    return decorate
