"""Regular expressions, compiled when somebody first looks with one: a command needs few of the many there are."""

import re
from typing import cast


def late_pattern(expression: str, flags: int = 0) -> re.Pattern[str]:
    """As `re.compile`, later. What it is asked for once is asked of the pattern itself from then on."""
    return cast(re.Pattern[str], _Late(expression, flags))


class _Late:
    def __init__(self, expression: str, flags: int) -> None:
        self.pattern, self._flags = expression, flags

    def __getattr__(self, name: str) -> object:
        value: object = getattr(re.compile(self.pattern, self._flags), name)
        setattr(self, name, value)
        return value

    def __reduce__(self) -> tuple[object, ...]:
        return late_pattern, (self.pattern, self._flags)
