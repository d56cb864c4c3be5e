"""JSON as servers send it, which is not always JSON."""

import json

import orjson

from metaspo.backends.late_patterns import late_pattern

_LONE_SURROGATE = late_pattern("[\ud800-\udfff]")
_LONGEST = 20  # characters of a whole number that 64 bits hold


def loads(body: bytes) -> object:
    """What a body says; also one with `NaN`, a byte order mark, broken UTF-8 or half a surrogate pair.

    What is no character becomes U+FFFD. Raises `ValueError`.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return mended(json.loads(body.decode("utf-8-sig", "replace"), strict=False, parse_int=_number))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _number(text: str) -> int | float:
    """A whole number, as a float where 64 bits do not hold it: so orjson reads it, and writes no larger one."""
    number = int(text) if len(text) <= _LONGEST else 2**64
    return number if -(2**63) <= number < 2**64 else float(text)


def mended(value: object) -> object:
    """A JSON value without halves of surrogate pairs, which no UTF-8 can hold."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [mended(item) for item in value]
    if isinstance(value, dict):
        return {mended(name): mended(item) for name, item in value.items()}
    return value
