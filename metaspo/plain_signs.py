"""What stands for our own signs in an output whose encoding has none of them."""

import codecs
from typing import Final

ERRORS: Final = "metaspo.plain_signs"
_SIGNS: Final = {"→": "->", "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "≤": "<=", "≥": ">=", "±": "+-"}


def _written(fault: UnicodeError) -> tuple[str, int]:
    """Of "a score → a score" a reader must not see "a score ? a score"; what others wrote may be a question mark."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    lost = fault.object[fault.start : fault.end]
    return "".join(_SIGNS.get(sign, "?") for sign in lost), fault.end


codecs.register_error(ERRORS, _written)
