"""A server's own words about a failure, in whatever body it put them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape

from metaspo.backends.http.limit_headers import parse_duration, plausible_wait
from metaspo.backends.http.loose_json import loads
from metaspo.backends.late_patterns import late_pattern

_DEPTH = 6
_WORDS = ("message", "msg", "detail", "error", "errors", "error_message", "error_description", "title", "reason")
_UNSEEN = late_pattern(r"<!--.*?-->|<(script|style|head)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TITLE = late_pattern(r"<title\b[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_TAG = late_pattern(r"<[^>]{0,2000}>")
_MAX_OF_PAGE = 8_000  # characters looked at


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What a response says went wrong; "" for what it does not say, 0 for a status that it does not repeat.

    `retry_after` in seconds, where it is not only the headers that tell.
    """

    code: str = ""
    type: str = ""
    message: str = ""
    status: int = 0
    retry_after: float | None = None


def parse_error_body(body: bytes) -> ErrorBody:
    """The error in a body: JSON of any of the forms that `read_error` knows, a page of HTML, or plain text."""
    try:
        return read_error(loads(body))
    except ValueError:
        return ErrorBody(message=words_of_page(body))


def read_error(body: object) -> ErrorBody:
    """The error in a JSON value.

    The forms: OpenAI's `error` object; a list of them (Gemini); `detail`, also as a list (FastAPI); a message within a
    message (Mistral), or passed on as text from the provider behind (OpenRouter); a bare string; any of these alone.
    """
    if isinstance(body, list):
        body = next((item for item in body if isinstance(item, dict)), None)
    if not isinstance(body, dict):
        return ErrorBody(message=body if isinstance(body, str) else "")
    error = body.get("error")
    table = error if isinstance(error, dict) else body
    code, kind = table.get("code"), table.get("type") or body.get("type") or body.get("error_type")
    return ErrorBody(  # Gemini's reason ("API_KEY_INVALID") and when to come back ("34s") stand in details
        code=code if isinstance(code, str) else _in_details(table, "reason") or _text(table.get("status")),
        type=_text(kind),
        message=". ".join(_sentences(body)),
        status=_status(code) or _status(table.get("status")),
        retry_after=plausible_wait(parse_duration(_in_details(table, "retryDelay"))),
    )


def words_of_page(body: bytes) -> str:
    """What a reader sees of a page of HTML or a plain text; "" of what is neither."""
    text = body[:_MAX_OF_PAGE].decode(errors="replace")
    if text.lstrip()[:1] in ("{", "["):
        return ""  # JSON that is broken off
    title = _TITLE.search(text)
    text = _TAG.sub(" ", _UNSEEN.sub(" ", text))
    return " ".join(unescape(f"{title[1]}. {text}" if title else text).split())


def _sentences(body: object) -> Iterator[str]:
    """What a JSON value says in words, each thing once."""
    seen: set[str] = set()
    for words in _words(body, _DEPTH):
        words = words.strip().removesuffix(".")
        if words and words not in seen:
            seen.add(words)
            yield words


def _words(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        nested = _object_in(value)
        if nested is not None:
            yield from _words(nested, depth - 1) if depth else ()
        elif value.strip():
            yield value
    elif isinstance(value, list) and depth:
        for item in value[:5]:
            yield from _words(item, depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _words_of_table(value, depth)


def _words_of_table(table: Mapping[str, object], depth: int) -> Iterator[str]:
    """The first name that says something, where it was wrong before it, what the provider behind said after it."""
    spot = table.get("loc")
    where = ".".join(str(part) for part in spot[:6]) + ": " if isinstance(spot, list) and spot else ""
    for name in _WORDS:
        words = list(_words(table.get(name), depth - 1))
        if words:
            yield where + words[0]
            yield from words[1:]
            break
    metadata = table.get("metadata")
    if isinstance(metadata, dict):
        yield from _words(metadata.get("raw"), depth - 1)


def _object_in(text: str) -> object:
    """The JSON object or list that a string is, as some gateways pass another server's answer on; None of any other."""
    if text[:1] not in ("{", "[") or len(text) > _MAX_OF_PAGE:
        return None
    try:
        return loads(text.encode("utf-8", "replace"))
    except ValueError:
        return None


def _in_details(error: Mapping[str, object], name: str) -> str:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get(name), str):
            return str(detail[name])
    return ""


def _status(value: object) -> int:
    """A status of HTTP that an error repeats, as a number or in digits."""
    if isinstance(value, str) and re.fullmatch(r"\d{3}", value):
        value = int(value)
    return value if type(value) is int and 400 <= value < 600 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
