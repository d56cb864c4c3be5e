"""What stands beside a number and makes it a part of something else: a list, a range, a sum, a quantity, a bound."""

import re
from typing import Final

from metaspo.backends.late_patterns import late_pattern

CURRENCY: Final = "$€£¥₹₩₽₺₴₦฿₪₱¢"
_TAIL: Final = late_pattern(rf"\s?[%{CURRENCY}]")
_JOINT: Final = late_pattern(
    rf"""[ \t]++(?=\.?[0-9]++(?!-[^\W\d]))
    | \s*+(?:[,;/|:~+*×÷-]++|\.{{2,}}+|to|through|plus|minus|times|x|and|or|bis|à|至|到|から|和|与|或)
      \s*+(?:[,;/|]\s*+)?(?:and\b|or\b)?[\s+{CURRENCY}-]*+(?=\.?[0-9])""",
    re.IGNORECASE | re.VERBOSE,
)
# Alternatives and parts with a word between: "3 km to 4 km", "x = 3 or x = -3", "1 h 30 min".
_AGAIN: Final = late_pattern(
    r"\s?(?P<unit>[^\W\d_]{1,12}|[%°]\w?)\s*(?:to|or|through|-+)\s*(?=\.?[0-9]+(?:[.,][0-9]+)*\s?(?P=unit)(?![^\W\d_]))"
)
_ASSIGNED: Final = late_pattern(r"\s*(?:,|;|\bor\b|\band\b)?\s*\b[a-z]\s?=\s?[-+]?\s?(?=\.?[0-9])", re.IGNORECASE)
_PARTS: Final = (
    r"(?:h|hrs?|hours?|min|mins|minutes?|s|secs?|seconds?|days?|weeks?|months?|years?|ft|feet|foot|lbs?|pounds?"
    r"|km|m|cm|kg|g)"
)
COMPOUND: Final = late_pattern(
    rf"(?:\s?{_PARTS}\b\.?,?\s*(?:and\s+)?(?=[0-9]+(?:\.[0-9]+)?\s?(?:{_PARTS}|mm|in|inch|inches|oz|ounces?)\b)"
    r"|'\s?(?=[0-9]+(?:\.[0-9]+)?\s?(?:\"|''|in\b)))",
    re.IGNORECASE,
)
_BOUND_BEFORE: Final = late_pattern(
    r"""(?:\b(?:more|greater|fewer|less|higher|lower|larger|smaller|bigger|longer|shorter|older|younger|heavier)\s+than
      |\b(?:over|under|above|below|exceeds|exceeding|beyond) | (?<![<>/=-])[<>] | ± | \+/-?)\s?\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_TAG_OR_QUOTE: Final = late_pattern(r"(?:</?[a-zA-Z][^<>]{0,40}>|(?:\A|\n)[ \t]*>[ \t])\s?\Z")
_BOUND_AFTER: Final = late_pattern(r"\s?[<>≤≥]=?\s?[a-z]\b(?!>)", re.IGNORECASE)
WORKED_OUT: Final = late_pattern(r"\s*(?:[+*×÷]|(?:plus|minus|times|x)(?![^\W\d_]))", re.IGNORECASE)  # "2 + 2 = 4"


def tail(text: str, end: int) -> int:
    """Where a number ends, with the percent or currency sign after it."""
    match = _TAIL.match(text, end)
    return match.end() if match else end


def joint_after(text: str, start: int, end: int) -> re.Match[str] | None:
    """What leads from a number to another one that belongs to it: in a list, a range, a sum, two units."""
    behind = tail(text, end)
    if joint := _JOINT.match(text, behind) or _AGAIN.match(text, end) or COMPOUND.match(text, end):
        return joint
    return _ASSIGNED.match(text, behind) if text[:start].rstrip().endswith("=") else None


def is_bound(text: str, start: int, end: int) -> bool:
    """Whether what is said lies above or below a number: "more than 5", "< 5", "3 < x"; or on both sides: "± 5"."""
    if _BOUND_AFTER.match(text, end):
        return True
    before = max(0, start - 24)
    if not _BOUND_BEFORE.search(text, before, start) or text.startswith(">", end):
        return False
    return _TAG_OR_QUOTE.search(text, max(0, start - 44), start) is None
