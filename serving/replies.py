"""What goes back over HTTP: answers with how they were come by, streams, and failures in OpenAI's form."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from metaspo.backends import ChatCall, chat_events
from metaspo.backends.chat.answer import chat_answer
from metaspo.backends.chat.format import encoded
from metaspo.scheduling import Answer, CallFailed

JSON = "application/json"
EVENTS = "text/event-stream"
_HIT = {
    "Content-Type": JSON,
    "x-metaspo-cache": "hit",
    "x-metaspo-queue-ms": "0.0",
    "x-metaspo-server-ms": "0.0",
}
_TYPES = {
    "key": "authentication_error",
    "budget": "insufficient_quota",
    "credit": "insufficient_quota",
    "unavailable": "server_error",
    "closed": "server_error",
    "given_up": "server_error",
    "store": "server_error",
    "bug": "server_error",
    "access": "server_error",
}


def headers_of(answers: Sequence[Answer], draws: Iterable[int]) -> dict[str, str]:
    """How answers were come by, all choices together."""
    cost = saved = waited = served = 0.0
    priced, source = True, "hit"
    for answer in answers:
        if answer.source != "hit":
            waited, served = max(waited, answer.waited), max(served, answer.completion.latency)
            source = answer.source if source != "miss" else source
        if answer.dollars is None:
            priced = False
        elif answer.source == "miss":
            cost += answer.dollars
        else:
            saved += answer.dollars
    headers = {
        "x-metaspo-cache": source,
        "x-metaspo-key": answers[0].key,
        "x-metaspo-draw": ",".join(map(str, draws)),
        "x-metaspo-queue-ms": f"{1e3 * waited:.1f}",
        "x-metaspo-server-ms": f"{1e3 * served:.1f}",
    }
    if priced:
        headers["x-metaspo-cost"], headers["x-metaspo-saved"] = f"{cost:.8f}", f"{saved:.8f}"
    return headers


def headers_of_hit(key: str, draw: int, dollars: float | None) -> dict[str, str]:
    """Those of one answer out of the cache, as `headers_of` has them, and its type."""
    headers = {**_HIT, "x-metaspo-key": key, "x-metaspo-draw": str(draw)}
    if dollars is not None:
        headers["x-metaspo-cost"], headers["x-metaspo-saved"] = f"{0:.8f}", f"{dollars:.8f}"
    return headers


def chat_body_of(call: ChatCall, answers: Sequence[Answer]) -> bytes:
    """A chat's answer as one body."""
    completions = [answer.completion for answer in answers]
    body = chat_answer(completions, model=call.request.model, answer_id=_answer_id(answers), created=int(time.time()))
    return encoded(body)


def chat_stream_of(call: ChatCall, answers: Sequence[Answer]) -> bytes:
    """A chat's answer as the events that make it."""
    events = chat_events(
        [answer.completion for answer in answers],
        model=call.request.model,
        answer_id=_answer_id(answers),
        created=int(time.time()),
        include_usage=call.include_usage,
    )
    return b"".join(event_of(event) for event in events) + b"data: [DONE]\n\n"


def event_of(body: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + encoded(dict(body)) + b"\n\n"


def error_body(failed: CallFailed) -> dict[str, Any]:
    """A failure in OpenAI's form."""
    kind = _TYPES.get(failed.kind, "invalid_request_error")
    return {"error": {"message": str(failed), "type": kind, "param": None, "code": failed.kind}}


def failure(failed: CallFailed) -> web.Response:
    """A failure as a response; OpenAI's clients try again exactly if that is of use."""
    headers = {"x-should-retry": "false" if failed.final else "true"}
    if failed.retry_after is not None:
        headers["retry-after"] = str(math.ceil(failed.retry_after))
    return web.Response(status=failed.status, body=orjson.dumps(error_body(failed)), content_type=JSON, headers=headers)


def _answer_id(answers: Sequence[Answer]) -> str:
    return f"chatcmpl-{answers[0].key[:24]}"
