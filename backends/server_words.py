"""A server's own words about a failure, in whatever body it put them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape

from metaspo.backends.limit_headers import parse_duration, plausible_wait
from metaspo.backends.loose_json import loads

_DEPTH = 6
_WORDS = ("message", "msg", "detail", "error", "errors", "error_message", "error_description", "title", "reason")
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style|head)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title\b[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]{0,2000}>")
_MOST_OF_PAGE = 8_000  # characters looked at


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


def read_error(said: object) -> ErrorBody:
    """The error in a JSON value.

    The forms: OpenAI's `error` object; a list of them (Gemini); `detail`, also as a list (FastAPI); a message within a
    message (Mistral), or passed on as text from the provider behind (OpenRouter); a bare string; any of these alone.
    """
    if isinstance(said, list):
        said = next((item for item in said if isinstance(item, dict)), None)
    if not isinstance(said, dict):
        return ErrorBody(message=said if isinstance(said, str) else "")
    error = said.get("error")
    table = error if isinstance(error, dict) else said
    code, kind = table.get("code"), table.get("type") or said.get("type") or said.get("error_type")
    return ErrorBody(
        code=code if isinstance(code, str) else _reason_in_details(table) or _text(table.get("status")),
        type=kind if isinstance(kind, str) else "",
        message=". ".join(_sentences(said)),
        status=_status(code) or _status(table.get("status")),
        retry_after=_retry_after(table),
    )


def words_of_page(body: bytes) -> str:
    """What a reader sees of a page of HTML or a plain text; "" of what is neither."""
    text = body[:_MOST_OF_PAGE].decode(errors="replace")
    if text.lstrip()[:1] in ("{", "["):
        return ""  # JSON that is broken off
    title = _TITLE.search(text)
    text = _TAG.sub(" ", _UNSEEN.sub(" ", text))
    return " ".join(unescape(f"{title[1]}. {text}" if title else text).split())


def _sentences(said: object) -> Iterator[str]:
    """What a JSON value says in words, each thing once."""
    seen: set[str] = set()
    for words in _words(said, _DEPTH):
        words = words.strip().removesuffix(".")
        if words and words not in seen:
            seen.add(words)
            yield words


def _words(said: object, depth: int) -> Iterator[str]:
    if isinstance(said, str):
        nested = _object_in(said)
        if nested is None:
            yield said
        elif depth:
            yield from _words(nested, depth - 1)
    elif isinstance(said, list) and depth:
        for item in said[:5]:
            yield from _words(item, depth - 1)
    elif isinstance(said, dict) and depth:
        yield from _words_of_table(said, depth)


def _words_of_table(said: Mapping[str, object], depth: int) -> Iterator[str]:
    """The first name that says something, where it was wrong before it, what the provider behind said after it."""
    spot = said.get("loc")
    where = ".".join(str(part) for part in spot[:6]) + ": " if isinstance(spot, list) and spot else ""
    for name in _WORDS:
        words = list(_words(said.get(name), depth - 1))
        if words:
            yield where + words[0]
            yield from words[1:]
            break
    metadata = said.get("metadata")
    if isinstance(metadata, dict):
        yield from _words(metadata.get("raw"), depth - 1)


def _object_in(text: str) -> object:
    """The JSON object or list that a string is, as some gateways pass another server's answer on; None of any other."""
    if text[:1] not in ("{", "[") or len(text) > _MOST_OF_PAGE:
        return None
    try:
        return loads(text.encode("utf-8", "replace"))
    except ValueError:
        return None


def _reason_in_details(error: Mapping[str, object]) -> str:
    """Gemini's name of the fault ("API_KEY_INVALID"), which stands deeper than its code."""
    return _in_details(error, "reason")


def _retry_after(error: Mapping[str, object]) -> float | None:
    """Gemini's word for when to come back ("34s")."""
    return plausible_wait(parse_duration(_in_details(error, "retryDelay")))


def _in_details(error: Mapping[str, object], name: str) -> str:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get(name), str):
            return str(detail[name])
    return ""


def _status(said: object) -> int:
    """A status of HTTP that an error repeats, as a number or in digits."""
    if isinstance(said, str) and re.fullmatch(r"\d{3}", said):
        said = int(said)
    return said if type(said) is int and 400 <= said < 600 else 0


def _text(said: object) -> str:
    return said if isinstance(said, str) else ""
