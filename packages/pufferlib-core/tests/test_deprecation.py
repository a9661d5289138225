"""Deprecated names warn at the caller, keep working, and say when they go."""

from __future__ import annotations

import warnings

import pytest
from pufferlib_core.deprecation import deprecated


@deprecated(since="0.1", use="new_name")
def old_name(x, *, y=1):
    """Adds."""
    return x + y


@deprecated("1.9", "Better")
class Old:
    """Holds a number."""

    def __init__(self, number):
        self.number = number

    @deprecated("1.9", "doubled")
    def twice(self):
        return 2 * self.number


def test_a_function_warns_where_it_is_called_and_still_works():
    with pytest.warns(DeprecationWarning, match=r"^old_name is deprecated since 0\.1 and goes in 0\.3; use new_name$") as seen:
        assert old_name(1, y=2) == 3
    assert seen[0].filename == __file__
    assert old_name.__doc__ == "Deprecated since 0.1: use new_name.\n\nAdds."
    assert old_name.__name__ == "old_name"


def test_classes_and_methods():
    with pytest.warns(DeprecationWarning, match=r"^Old is deprecated since 1\.9 and goes in 1\.11; use Better$") as seen:
        made = Old(4)
    assert seen[0].filename == __file__
    assert isinstance(made, Old)
    assert Old.__doc__ is not None
    assert Old.__doc__.endswith("Holds a number.")
    with pytest.warns(DeprecationWarning, match=r"Old\.twice is deprecated"):
        assert made.twice() == 8


def test_importing_does_not_warn_and_versions_are_checked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decorate = deprecated("0.2", "x")
        decorate(lambda: None)
    with pytest.raises(ValueError, match="invalid literal"):
        deprecated("soon", "x")
