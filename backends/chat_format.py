"""OpenAI's chat format: a `Request` to a body, a response to a `Reply`. Shared by every backend that speaks it."""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from metaspo.backends.base import CONTENT_FILTER, Completion, Reply, Request, Usage
from metaspo.backends.errors import FatalError, HalfAnswer
from metaspo.backends.http_errors import Call, error_from_response
from metaspo.backends.limit_headers import parse_limit_hints

TokenLimitParameter = Literal["max_tokens", "max_completion_tokens"]
JsonObject = dict[str, Any]

_BROKEN_OFF = frozenset({"abort", "aborted", "cancelled", "error"})
_WHOLE = frozenset({"stop", "length"})


def chat_body(
    request: Request,
    *,
    limit_parameter: TokenLimitParameter = "max_tokens",
    temperature_allowed: bool = True,
    defaults: Mapping[str, Any] | None = None,
) -> JsonObject:
    """The body of a chat completion call.

    `defaults` are body fields of the model; the request's own `extra` goes before them. A temperature that the model
    does not take is left out. Raises `FatalError` if `extra` or `response_format` is not JSON.
    """
    sampling = request.sampling
    body: JsonObject = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        limit_parameter: sampling.max_tokens,
    }
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
    return body


def _json_object(text: str, what: str) -> JsonObject:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FatalError(f"The request's {what!r} is not JSON.") from error
    if not isinstance(value, dict):
        raise FatalError(f"The request's {what!r} is not a JSON object.")
    return value


def call_of(request: Request, *, endpoint: str, key: str) -> Call:
    """The request as error messages need it."""
    return Call(endpoint, request.model, key, request.messages)


def read_reply(
    status: int, headers: Mapping[str, str], body: bytes, *, request: Request, call: Call, latency: float
) -> Reply:
    """The reply in a response, `latency` in seconds; raises the `BackendError` that any other response means."""
    if status != 200:
        raise error_from_response(status, headers, body, call=call)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HalfAnswer(f"{call.endpoint} sent an answer that is not whole JSON.") from error
    if isinstance(answer, dict) and answer.get("error") and not answer.get("choices"):
        raise error_from_response(_status_within(answer), headers, body, call=call)
    text, finish_reason = _read_choice(answer, call=call)
    completion = Completion(
        text=text,
        finish_reason=finish_reason,
        usage=_read_usage(answer, request=request, text=text),
        latency=latency,
        server=_server_of(answer),
    )
    return Reply(completion, parse_limit_hints(headers))


def _server_of(answer: JsonObject) -> str:
    """What the server says it is."""
    model, fingerprint = answer.get("model"), answer.get("system_fingerprint")
    if isinstance(model, str):
        return f"{model} {fingerprint}" if isinstance(fingerprint, str) else model
    return fingerprint if isinstance(fingerprint, str) else ""


def _status_within(answer: JsonObject) -> int:
    """Some gateways answer 200 with the failure inside; without a status of its own it is the server's fault."""
    code = answer["error"].get("code") if isinstance(answer["error"], dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _read_choice(answer: object, *, call: Call) -> tuple[str, str]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise HalfAnswer(f"{call.endpoint} sent an answer without a choice.")
    finish_reason, text, refusal = choice.get("finish_reason"), message.get("content"), message.get("refusal")
    if not isinstance(finish_reason, str) or finish_reason in _BROKEN_OFF:
        raise HalfAnswer(f"{call.endpoint} broke off an answer of {call.model} before its end.")
    if finish_reason == CONTENT_FILTER or (refusal and not text):
        return refusal if isinstance(refusal, str) else "", CONTENT_FILTER
    if text is None and finish_reason in _WHOLE:
        text = ""  # all of it was reasoning: whole, and asking again would cost the same for nothing
    if not isinstance(text, str):
        raise HalfAnswer(f"{call.endpoint} sent an answer without text.")
    return text, finish_reason


def _read_usage(answer: JsonObject, *, request: Request, text: str) -> Usage:
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return estimate_usage(request, text)
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached))


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0  # `true` would make a record that cannot be read


def estimate_usage(request: Request, text: str) -> Usage:
    """Usage by the rule of thumb of four characters a token, for answers that come without a count."""
    return Usage(sum(-(-len(message.content) // 4) for message in request.messages), -(-len(text) // 4))
