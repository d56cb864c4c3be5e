"""Tags that a stop string cut off: servers leave it out of the answer, and with it what closed the tag."""

from collections.abc import Sequence

import orjson

from metaspo.backends import Completion
from metaspo.backends.late_patterns import late_pattern

_OPENING = late_pattern(r"<(\w[\w.-]*)\s*>")
_CLOSING = late_pattern(r"</(\w[\w.-]*)>")


def with_cut_tag(completion: Completion, stop: Sequence[str], *, tag: str = "") -> str:
    """The text of an answer, with the end of its last open tag if that is where a stop string ended it.

    Where the server says which string that was, only that one counts, asked for or the server's own. Where none is
    known, `tag`, in which the answer is to stand, is closed if it is open at the end and was never closed.
    """
    text = completion.text
    if completion.finish_reason != "stop" or "<" not in text:
        return text
    said = orjson.loads(completion.rest).get("stop_reason") if completion.rest else None
    if isinstance(said, int):
        return text  # a token ended it
    strings = (said,) if isinstance(said, str) else tuple(stop)
    if not strings:
        return f"{text}</{tag}>" if tag and _leaves_open(text, tag.lower()) else text
    closed = {each[1].lower(): each.start() for each in _CLOSING.finditer(text)}  # where each is for the last time
    for opening in reversed(list(_OPENING.finditer(text))):
        if opening.start() < closed.get(opening[1].lower(), -1):
            continue
        closing = f"</{opening[1]}>"
        for string in strings:
            if _cuts(string, closing):
                return text.removesuffix(string) + closing
    return text


def _leaves_open(text: str, tag: str) -> bool:
    """Whether that tag is opened in it and never closed."""
    return (
        f"</{tag}" not in text
        and f"</{tag}" not in text.lower()
        and any(each[1].lower() == tag for each in _OPENING.finditer(text))
    )


def _cuts(stop: str, closing: str) -> bool:
    """Whether an answer that ends before the string ends before the closing tag."""
    stop, closing = stop.lower(), closing.lower()
    return stop.startswith(closing) or (stop.startswith("</") and closing.startswith(stop))
