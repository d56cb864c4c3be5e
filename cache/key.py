"""What a request is known by: SHA-256 of one canonical text of everything that determines its answer.

The canonical text is compact JSON (no spaces, nothing escaped that need not be) of the object `explain_key` shows, its
names in alphabetical order, encoded as UTF-8; a lone surrogate, which UTF-8 cannot hold, is encoded as UTF-8 would if
it were a character. JSON strings and arrays keep every boundary, so no two requests have one text. In detail:

* What is left out (`None`, "", no stop strings) is `null`, which no value is.
* Texts are compared as they are: two Unicode normal forms of one word are two texts.
* `temperature` and `top_p` are floating-point values, written as Python's `repr` writes them: 0, 0.0 and -0.0 are one
  value. Whole numbers are JSON numbers.
* A message with further fields has them as a third item; a request with a `path` has that under its name. Others show
  neither.
* `response_format` and both `extra` count by what they say: spaces, the order of names and the spelling of strings
  and floats (1e2, 100.0) do not matter. 1 and 1.0 stay apart, because servers may tell them apart.
"""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import NoReturn

import orjson

from metaspo.backends import Request
from metaspo.backends.late_patterns import late_pattern
from metaspo.cache.place import START, Key, beginning, group_of, key_at, place_of

KEY_VERSION = 1
"""Part of every key: raised when the canonical text of any request changes, so that old entries are never mistaken."""

KEY = late_pattern("[0-9a-f]{64}")
"""What every key looks like."""

MARK = "\ue000text\ue001"
"""Stands for the text in a request that a `KeyPattern` is made of: JSON writes it as it is. It does not end as it
begins: else what stands before it could be taken for a part of it."""

REMEMBERED = 2_000
"""Characters of the longest JSON text that is remembered with its canonical form: an image is not."""


def request_key(request: Request) -> Key:
    """The request's key: 64 hexadecimal digits, the same in every process and on every machine.

    Raises `ValueError` if `response_format` or an `extra` is not JSON, or a number is not finite.
    """
    shared, text = beginning(request.messages)
    place = place_of(group_of(request.model, shared), text)
    return key_at(place, sha256(_canonical(_parts(request))).hexdigest())


def explain_key(request: Request) -> dict[str, object]:
    """What went into the request's key, and the key itself under "key".

    Raises `ValueError` as `request_key` does.
    """
    parts = _parts(request)
    return {"key": sha256(_canonical(parts)).hexdigest(), **parts}


class KeyPattern:
    """The keys of requests that differ in one text: of each nothing but that text is encoded and hashed."""

    __slots__ = ("_after", "_before", "_group", "_place", "_start")

    def __init__(self, request: Request) -> None:
        """Raises `ValueError` for a request that does not hold `MARK` exactly once, or in what its group shares, and as
        `request_key` does."""
        before, after = _canonical(_parts(request)).split(_canonical(MARK)[1:-1])
        self._before, self._after = sha256(before), after
        shared, start = beginning(request.messages)
        if MARK in shared:
            raise ValueError("the mark is in what the requests of a group share")
        self._group = group_of(request.model, shared)
        self._start = start.partition(MARK)
        lead, mark, _ = self._start
        self._place = place_of(self._group, lead) if not mark or len(lead) >= START else ""

    def key(self, text: str) -> Key:
        """The key of the request that has this text in place of the mark."""
        digest = self._before.copy()
        digest.update(_canonical(text)[1:-1] + self._after)
        return key_at(self._place or self._place_of(text), digest.hexdigest())

    def _place_of(self, text: str) -> str:
        lead, _, rest = self._start
        return place_of(self._group, lead + text[:START] + rest[:START])


def _parts(request: Request) -> dict[str, object]:
    """Everything that determines the answer; names in alphabetical order, as the canonical text has them."""
    sampling = request.sampling
    parts: dict[str, object] = {
        "draw": request.draw,
        "extra": _json_text(sampling.extra, "sampling.extra"),
        "key_version": KEY_VERSION,
        "max_tokens": sampling.max_tokens,
        "messages": [
            [message.role, message.content]
            if not message.extra
            else [message.role, message.content, _json_text(message.extra, "message.extra")]
            for message in request.messages
        ],
        "model": request.model,
        "response_format": _json_text(request.response_format, "response_format"),
        "revision": request.revision or None,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "temperature": _float_text(sampling.temperature, "sampling.temperature"),
        "top_p": _float_text(sampling.top_p, "sampling.top_p"),
    }
    return parts if not request.path else dict(sorted({**parts, "path": request.path}.items()))


def _canonical(parts: Mapping[str, object] | str) -> bytes:
    """The canonical text. orjson writes the same as json and is faster, but refuses surrogates and big numbers."""
    try:
        return orjson.dumps(parts)
    except orjson.JSONEncodeError:
        text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")


def _float_text(value: float | None, name: str) -> str | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}: give a finite number, or leave it out.")
    return repr(value + 0.0)  # makes a float of an int, and 0.0 of -0.0


def _json_text(text: str, name: str) -> str | None:
    """One text for everything that says the same; "" is nothing said."""
    if not text:
        return None
    return _known_json(text, name) if len(text) <= REMEMBERED else _canonical_json(text, name)


@lru_cache(maxsize=256)
def _known_json(text: str, name: str) -> str:
    return _canonical_json(text, name)


def _canonical_json(text: str, name: str) -> str:
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{name} is not JSON ({error}): {text[:80]!r}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
