"""OpenAI's chat format: a `Request` to a body. Shared by every backend that speaks it."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from metaspo.backends.base import Message, Request
from metaspo.backends.errors import RequestRejected

TokenLimitParameter = Literal["max_tokens", "max_completion_tokens"]
JsonObject = dict[str, Any]


def chat_body(
    request: Request,
    *,
    limit_parameter: TokenLimitParameter = "max_tokens",
    temperature_allowed: bool = True,
    defaults: Mapping[str, Any] | None = None,
) -> JsonObject:
    """The body of a chat completion call.

    `defaults` are body fields of the model; the request's own `extra` goes before them. A temperature that the model
    does not take is left out. Raises `RequestRejected` if `extra` or `response_format` is no object of JSON, and for
    more than one choice: each is a request of its own, with a draw of its own.
    """
    sampling = request.sampling
    body: JsonObject = {
        "model": request.model,
        "messages": [
            {"role": message.role, "content": message.content} if not message.extra else _whole_message(message)
            for message in request.messages
        ],
        "stream": False,  # what is OpenAI's default is not every server's
    }
    if sampling.max_tokens is not None:
        body[limit_parameter] = sampling.max_tokens
    if sampling.temperature is not None and temperature_allowed:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if defaults:
        body.update(defaults)
    if request.response_format:
        body["response_format"] = _json_object(request.response_format, "response_format")
    if sampling.extra:
        body.update(_json_object(sampling.extra, "extra"))
        if body.get("n") not in (None, 1):
            raise RequestRejected(f"n = {body['n']} in one request is not asked: make as many requests, with draws.")
    return body


def raw_body(request: Request) -> JsonObject:
    """The body of a request with a path. Raises `RequestRejected` if `extra` is no object of JSON."""
    extra = request.sampling.extra
    return {"model": request.model, **(_json_object(extra, "extra") if extra else {})}


def _whole_message(message: Message) -> JsonObject:
    return {"role": message.role, "content": message.content, **_json_object(message.extra, "extra")}


def _json_object(text: str, what: str) -> JsonObject:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestRejected(f"The request's {what!r} is not JSON.") from error
    if not isinstance(value, dict):
        raise RequestRejected(f"The request's {what!r} is not a JSON object.")
    return value


def encoded(body: JsonObject) -> bytes:
    """A body as JSON; one with half a surrogate pair, which orjson refuses, with it escaped."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        return json.dumps(body).encode()
