"""What response headers say about waiting and limits. Every one of them may be missing or wrong; none is required."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from multidict import istr

from metaspo.backends.base import LimitHints
from metaspo.backends.late_patterns import late_pattern

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_LONGEST_WAIT = 7 * 86400.0
_PIECE = late_pattern(r"(\d+(?:\.\d+)?|\.\d+)(h|ms|us|µs|ns|m|s)")

# `istr` has the lower-case form that aiohttp's headers are looked up by at hand.
_HINTS = tuple(
    istr(f"x-ratelimit-{what}-{thing}") for thing in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)


def parse_duration(text: str) -> float | None:
    """Seconds of a duration as Go prints it ("6m0s", "20ms", "1m26.4s") or of a plain number; None if neither."""
    text = text.strip()
    pieces = _PIECE.findall(text)
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in pieces)
    return _seconds(text)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms`, or `retry-after` in seconds or as a date; None if neither says.

    A date is taken relative to the response's own `date`, so that no clock of ours has a part in it. What asks for more
    than a week is no wait but a mistake; what asks for none (0, below 0, a date that is past) says nothing.
    """
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    of_milliseconds = None if milliseconds is None else plausible_wait(milliseconds / 1000)
    return of_milliseconds or plausible_wait(_retry_after(headers))


def plausible_wait(seconds: float | None) -> float | None:
    """The same number of seconds, None for none and for more than a server can mean."""
    return seconds if seconds is not None and 0 < seconds <= _LONGEST_WAIT else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    seconds = _seconds(text)
    if seconds is not None:
        return seconds
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):  # no date, one with a time zone and one without, a year beyond all
        return None
    return wait.total_seconds()


def parse_limit_hints(headers: Mapping[str, str]) -> LimitHints | None:
    """The `x-ratelimit-*` headers for requests and tokens; None if there is none of them."""
    if headers.keys().isdisjoint(_HINTS):  # as where there are no limits; every call pays for looking
        return None
    texts = [headers.get(name) for name in _HINTS]
    limit, remaining, reset = _of_thing(*texts[:3])
    tokens_limit, tokens_remaining, tokens_reset = _of_thing(*texts[3:])
    hints = LimitHints(
        requests_limit=limit,
        requests_remaining=remaining,
        requests_reset=reset,
        tokens_limit=tokens_limit,
        tokens_remaining=tokens_remaining,
        tokens_reset=tokens_reset,
    )
    return None if hints == LimitHints() else hints


def _of_thing(
    limit: str | None, remaining: str | None, reset: str | None
) -> tuple[int | None, int | None, float | None]:
    """Limit, remaining, reset; nothing for a limit of 0, by which gateways mean that there is none."""
    counted = _count(limit)
    return (None, None, None) if counted == 0 else (counted, _count(remaining), _reset(reset))


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text.strip()) else None


def _reset(text: str | None) -> float | None:
    return None if text is None else parse_duration(text)
