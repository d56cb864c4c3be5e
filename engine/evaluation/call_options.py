"""What a user's code names in a call, on its way into the request: a mistake in it is told where it is made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from metaspo.backends import Request, json_text
from metaspo.engine.config.model_table import SET_BY_METASPO

_MAX: Final = {"temperature": 2.0, "top_p": 1.0}


def with_options(
    request: Request,
    *,
    max_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    stop: str | Sequence[str] | None,
    response_format: Mapping[str, Any] | None,
    tools: Sequence[Mapping[str, Any]] | None,
    extra: Mapping[str, Any] | None,
) -> Request:
    """The request with what is named; None leaves it as it is. Raises `ValueError` for what no server can be asked."""
    changes: dict[str, Any] = {}
    if max_tokens is not None:
        if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens!r}: give a whole number from 1 on")
        changes["max_tokens"] = max_tokens
    if temperature is not None:
        changes["temperature"] = _number("temperature", temperature)
    if top_p is not None:
        changes["top_p"] = _number("top_p", top_p)
    if stop is not None:
        changes["stop"] = (stop,) if isinstance(stop, str) else _texts(stop)
    if extra or tools is not None:
        changes["extra"] = _with(request.sampling.extra, extra or {}, tools)
    if changes:
        request = replace(request, sampling=replace(request.sampling, **changes))
    if response_format is not None:
        if not isinstance(response_format, Mapping):
            raise ValueError(f"response_format is {response_format!r}: give the object that it is in OpenAI's API")
        request = replace(request, response_format=json_text(response_format))
    return request


def _number(name: str, value: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 <= value <= _MAX[name]:
        raise ValueError(f"{name} is {value!r}: give a number from 0 to {_MAX[name]:g}")
    return value


def _texts(stop: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(stop, Sequence) or not all(isinstance(text, str) for text in stop):
        raise ValueError(f"stop is {stop!r}: give texts")
    return tuple(stop)


def _with(given: str, extra: Mapping[str, Any], tools: Sequence[Mapping[str, Any]] | None) -> str:
    if ours := sorted(SET_BY_METASPO & extra.keys()):
        raise ValueError(f"extra must not hold {ours[0]!r}: metaspo sets it itself, and counts on it")
    more = dict(extra)
    if tools is not None:
        if isinstance(tools, str | Mapping) or not all(isinstance(tool, Mapping) for tool in tools):
            raise ValueError(f"tools is {tools!r}: give a list of objects, as OpenAI's API has them")
        more["tools"] = list(tools)
    return json_text({**(orjson.loads(given) if given else {}), **more})
