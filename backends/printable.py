"""Text that was not ours, made fit to be shown."""

from metaspo.backends.late_patterns import late_pattern

# C0 but tab and newline, DEL, C1, the marks that turn the direction of a text, and halves of surrogate pairs.
_UNPRINTABLE = late_pattern(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(json: str) -> str:
    """JSON with the same characters written as escapes, which say the same to whoever reads it as JSON."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json)


def printable(text: str) -> str:
    """The text with every character replaced (by U+FFFD) that a terminal would obey instead of showing it."""
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("\ufffd", text)
