"""How much of what takes long the default tests try; `make test-slow` tries the rest."""

from collections.abc import Sequence

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings


def examples(fixed: int, *, random: int) -> int:
    """The default tests try `fixed` examples, the same each time; `make test-slow` draws `random` ones of its own."""
    return random if settings.get_current_profile_name() == "random" else fixed


def rest_is_slow(values: Sequence[object], *, but: int = 1) -> list[ParameterSet]:
    """Values to parametrize with, of which the first ones alone are for the default tests."""
    cases = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*case, marks=() if place < but else pytest.mark.slow) for place, case in enumerate(cases)]
