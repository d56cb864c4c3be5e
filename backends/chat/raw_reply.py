"""What a server answered to a request with a path of its own (completions, embeddings, responses): kept as it came.

It is whole under the same rule as a chat's: every choice has a known reason to stop, every input its embedding, and a
response says that it is completed, or at its limit. Anything else is a `HalfAnswer`, or the failure that it tells.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from metaspo.backends.base import Completion, Reply, Request
from metaspo.backends.chat.reply import failure_in, read_answer, server_of, whole_reason
from metaspo.backends.chat.usage import read_usage
from metaspo.backends.errors import HalfAnswer, RequestRejected
from metaspo.backends.http.errors import Call, error_from_response, safe_words
from metaspo.backends.http.limit_headers import parse_limit_hints
from metaspo.backends.http.server_words import parse_error_body

PATHS = ("completions", "embeddings", "responses")
_NOT_THERE = (404, 405, 501)


def read_raw_reply(
    status: int, headers: Mapping[str, str], body: bytes, *, request: Request, call: Call, latency: float
) -> Reply:
    """The reply in a response, `latency` in seconds; raises the `BackendError` that any other response means.

    A server without that path is no reason to ask it nothing else: only the request is rejected.
    """
    if status in _NOT_THERE:
        words = safe_words(parse_error_body(body).message, call=call)
        addition = f" The server says: {words}" if words else ""
        raise RequestRejected(f"{call.endpoint} has no {call.address} for {call.model} (status {status}).{addition}")
    if not 200 <= status < 300:
        raise error_from_response(status, headers, body, call=call)
    answer = read_answer(body, call=call)
    reason, text = _READERS[request.path](answer)
    if answer.get("error"):
        raise failure_in(answer, {}, headers, call=call)
    if not reason:
        raise HalfAnswer(f"{call.endpoint} sent no whole answer of {call.model} to a request for {request.path}.")
    completion = Completion(
        text=text,
        finish_reason=reason,
        usage=read_usage(answer.get("usage"), request=request, answer=text),
        latency=latency,
        server=server_of(answer),
        rest=orjson.dumps(answer).decode(),
    )
    return Reply(completion, parse_limit_hints(headers))


def _completions(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Why it ended ("" if it is not whole), and its text."""
    choices = _tables(answer.get("choices"))
    reasons = [whole_reason(choice.get("finish_reason")) for choice in choices]
    texts = [choice["text"] for choice in choices if isinstance(choice.get("text"), str)]
    whole = choices and all(reasons) and len(texts) == len(choices)
    return (reasons[0] if whole else ""), "".join(texts)


def _embeddings(answer: Mapping[str, Any]) -> tuple[str, str]:
    data = _tables(answer.get("data"))
    return ("stop" if data and all(item.get("embedding") for item in data) else ""), ""


def _responses(answer: Mapping[str, Any]) -> tuple[str, str]:
    status = answer.get("status")
    reason = "stop" if status == "completed" else ""
    if status == "incomplete":
        details = answer.get("incomplete_details")
        said = details.get("reason") if isinstance(details, dict) else None
        reason = whole_reason(said)
    parts = [part for item in _tables(answer.get("output")) for part in _tables(item.get("content"))]
    return reason, "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _tables(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


_READERS = dict(zip(PATHS, (_completions, _embeddings, _responses), strict=True))
