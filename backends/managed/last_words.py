"""What a server that died said of it: one sentence out of its log."""

from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.printable import printable
from metaspo.backends.secrets import without_secrets

TAIL: Final = 64 << 10  # bytes of a log that are worth looking at
_LONGEST: Final = 300  # characters
_PREFIX: Final = late_pattern(  # "(EngineCore pid=7) ERROR 11-28 18:00:00 [core.py:800] "
    r"^(?:\([^()]*\)\s*)*(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+\d\d-\d\d \d\d:\d\d:\d\d\s*)?(?:\[[^\]]*\]\s*)*"
)
_COLOUR: Final = late_pattern(r"\x1b\[[0-9;]*[A-Za-z]")
_FAULT: Final = late_pattern(  # the last kind stands below "ValidationError: 1 validation error for ModelConfig"
    r"^(?:(?:[\w.]*(?:Error|Exception)|[\w ./-]+: error): \S|(?:Value error|Assertion failed), \S)"
)
_OF_ANOTHER: Final = ("See root cause above", "Engine core initialization failed", "Engine process failed to start")


def last_words(log: bytes, *, or_last_line: bool = True) -> str:
    """The last fault that a log tells, without what only says that there was one; else its last line, if that is
    wanted; "" for none."""
    text = _COLOUR.sub("", log[-TAIL:].decode(errors="replace"))
    lines = [line for raw in text.splitlines() if (line := _PREFIX.sub("", raw.strip()).strip())]
    faults = [line for line in lines if _FAULT.match(line)]
    causes = [line for line in faults if not any(words in line for words in _OF_ANOTHER)]
    for told in (causes, faults, lines if or_last_line else []):
        if told:
            words = printable(without_secrets(told[-1]))
            return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
    return ""
