"""What a server answered to a chat call, in any of the shapes that servers give it: a `Reply`, or the error it means.

An answer counts as whole only for a reason to stop that is known to mean so; whatever is not whole is a `HalfAnswer`,
and so neither scored nor kept. Thinking is separated from the answer here and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from metaspo.backends.base import CONTENT_FILTER, Completion, Reply, Request, Usage
from metaspo.backends.chat.thinking import may_hold_thinking, separate_thinking
from metaspo.backends.chat.usage import read_usage
from metaspo.backends.errors import BackendError, HalfAnswer
from metaspo.backends.http.errors import Call, error_from, error_from_response, safe_words
from metaspo.backends.http.event_stream import of_first_choice, whole_of_stream
from metaspo.backends.http.limit_headers import parse_limit_hints
from metaspo.backends.http.loose_json import loads
from metaspo.backends.http.server_words import ErrorBody, read_error, words_of_page

JsonObject = dict[str, Any]

_STOP, _LENGTH = "stop", "length"
_WHOLE: Mapping[str, str] = {  # every way to say that an answer is all there is, and how we say it
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed", "end"), _STOP),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), _LENGTH),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
}
_REFUSALS = frozenset(
    {CONTENT_FILTER, "content_filtered", "refusal", "safety", "prohibited_content", "recitation", "blocklist", "spii"}
    | {"image_safety", "image_prohibited_content", "image_recitation", "model_armor", "sensitive"}
    | {"guardrail_intervened"}
)
_TEXT_OF_PART = ("text", "thinking", "content", "summary", "refusal")
_READ = frozenset({"role", "content", "refusal", "reasoning_content", "reasoning", "thinking"})
_STOPPED_BY = ("stop_reason", "matched_stop")  # which stop string ended it, where a server says so: vLLM, SGLang
_REASONING = {"reasoning_content": 0, "reasoning": 0, "thinking": 0, "reasoning_details": 0}  # in order of preference


def read_reply(
    status: int, headers: Mapping[str, str], body: bytes, *, request: Request, call: Call, latency: float
) -> Reply:
    """The reply in a response, `latency` in seconds; raises the `BackendError` that any other response means."""
    if not 200 <= status < 300:
        raise error_from_response(status, headers, body, call=call)
    answer = read_answer(body, call=call)
    choice = _first_choice(answer)
    message = _message(choice)
    text, reasoning = message.get("content"), ""
    if type(text) is not str or may_hold_thinking(text) or not _REASONING.keys().isdisjoint(message):
        text, reasoning = _text_and_reasoning(message)
    usage = read_usage(answer.get("usage"), request=request, answer=text + reasoning if reasoning else text)
    finish_reason = _finish_reason(choice, text=text, usage=usage, request=request)
    if finish_reason is None:
        raise failure_in(answer, choice, headers, call=call)
    refusal = message.get("refusal") or (None if text else _refusals_among(message.get("content")))
    if refusal and not text:
        finish_reason = CONTENT_FILTER
    if finish_reason == CONTENT_FILTER:
        text = _joined(refusal)
    rest = _rest(answer, choice, message, text=text)
    # by position: by name a tuple takes twice as long, and every call pays for it
    completion = Completion(text, finish_reason, usage, latency, server_of(answer), reasoning, rest)
    return Reply(completion, parse_limit_hints(headers))


def read_answer(body: bytes, *, call: Call) -> JsonObject:
    """The object in a body, put together if it came as a stream that nobody asked for. Raises `HalfAnswer`."""
    try:
        answer = loads(body)
    except ValueError:
        answer = whole_of_stream(body)
        if answer is None:
            page = safe_words(words_of_page(body), call=call)
            what = f"a page instead of an answer. It says: {page}" if page else "an answer that is not whole JSON."
            raise HalfAnswer(f"{call.address} sent {what}") from None
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        raise HalfAnswer(f"{call.endpoint} sent an answer that is no JSON object.")
    return answer


def _first_choice(answer: JsonObject) -> JsonObject:
    """The first choice; of a prompt that was blocked before any was made, one that says so; {} if there is none."""
    choices = answer.get("choices")
    if isinstance(choices, list) and (first := of_first_choice(choices)):
        return first[0]
    for name in ("promptFeedback", "prompt_feedback"):
        feedback = answer.get(name)
        if isinstance(feedback, dict) and (feedback.get("blockReason") or feedback.get("block_reason")):
            return {"finish_reason": CONTENT_FILTER}
    return {}


def _message(choice: JsonObject) -> JsonObject:
    """What a choice says, which some call a stream's last piece though they stream nothing; not one of several."""
    message, piece = choice.get("message"), choice.get("delta")
    if isinstance(message, dict):
        return message
    whole = isinstance(piece, dict) and piece.get("content") and choice.get("finish_reason")
    return piece if isinstance(piece, dict) and whole else {"content": choice.get("text")}


def _finish_reason(choice: JsonObject, *, text: str, usage: Usage, request: Request) -> str | None:
    """Why the answer ended, in our words; None if it is not whole.

    The cases: a known reason, with a message (but for a refusal, or where the limit left no room for one); no reason,
    which some servers give to every answer, with some text; anything else.
    """
    server_reason = choice.get("finish_reason")
    if isinstance(server_reason, str):
        reason = _WHOLE.get(server_reason) or whole_reason(server_reason)
        if not reason or reason == CONTENT_FILTER:
            return reason or None
        has_message = choice.get("message") is not None or choice.get("text") is not None
        return reason if text or has_message or reason == _LENGTH else None
    if server_reason is not None or choice.get("error") or not text:
        return None
    limit = request.sampling.max_tokens
    return _LENGTH if limit is not None and usage.completion_tokens >= limit else _STOP


def whole_reason(server_reason: object) -> str:
    """How we say a reason to stop that makes an answer whole, or a refusal; "" for any other."""
    if not isinstance(server_reason, str):
        return ""
    reason = server_reason.lower()
    kind, _, _ = reason.partition(":")  # Gemini says what it filtered for as well: "content_filter: RECITATION"
    return _WHOLE.get(reason) or (CONTENT_FILTER if kind in _REFUSALS else "")


def _rest(answer: JsonObject, choice: JsonObject, message: JsonObject, *, text: str) -> str:
    """What a completion has no field for, as JSON; "" for nothing, as of nearly all answers to plain questions.

    That a token ended it, and no string, matters where it ends in an open tag.
    """
    unread = message.keys() - _READ
    rest = {name: value for name, value in message.items() if value and name in unread} if unread else {}
    if choice.get("logprobs"):
        rest["logprobs"] = choice["logprobs"]
    for name in _STOPPED_BY:
        said = choice.get(name)
        if isinstance(said, str) or (isinstance(said, int) and _ends_in_open_tag(text)):
            rest["stop_reason"] = said
    usage = answer.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    if not rest and not (isinstance(details, dict) and any(details.values())):
        return ""
    rest.update((name, answer[name]) for name in ("id", "usage", "service_tier") if answer.get(name))
    return orjson.dumps(rest, option=orjson.OPT_NON_STR_KEYS).decode()


def _ends_in_open_tag(text: str) -> bool:
    _, bracket, inside = text.rpartition("<")
    return bool(bracket) and not inside.startswith("/")


def _text_and_reasoning(message: JsonObject) -> tuple[str, str]:
    """The answer, and what was thought before it, wherever the server put that."""
    content = message.get("content")
    text, thought = (content, "") if isinstance(content, str) else _from_parts(content)
    text, within = separate_thinking(text)
    beside = next((_joined(message[name]) for name in _REASONING if message.get(name)), "")
    return text, "\n\n".join(part for part in (beside, thought, within) if part)


def _from_parts(content: object) -> tuple[str, str]:
    """Answer and thinking of a content that is a list of parts, each a text or an object with a type."""
    answer: list[str] = []
    thinking: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else ""
        if kind == "refusal":
            continue
        thinks = isinstance(kind, str) and ("think" in kind or "reason" in kind)
        (thinking if thinks else answer).append(_joined(part))
    return "".join(answer), "".join(thinking)


def _refusals_among(content: object) -> list[object]:
    """The parts of a content that are no answer but say why there is none."""
    parts = content if isinstance(content, list) else [content]
    return [part for part in parts if isinstance(part, dict) and part.get("type") == "refusal"]


def _joined(value: object, depth: int = 6) -> str:
    """All text in a value: a string, an object that holds one, or a list of these."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        return "".join([_joined(item, depth - 1) for item in value])
    if isinstance(value, dict) and depth:
        for name in _TEXT_OF_PART:
            if value.get(name):
                return _joined(value[name], depth - 1)
    return ""


def failure_in(answer: JsonObject, choice: JsonObject, headers: Mapping[str, str], *, call: Call) -> BackendError:
    """What an answer without a whole choice means: the failure that it tells, or just half an answer."""
    for holder in (choice, answer):
        if holder.get("error"):
            error = read_error(holder)
            return error_from(error.status or 500, headers, error, call=call)
    if not choice:
        error = read_error(answer)
        if error != ErrorBody():
            return error_from(error.status or 500, headers, error, call=call)
        return HalfAnswer(f"{call.endpoint} sent an answer without a choice.")
    reason = choice.get("finish_reason")
    why = f" (finish reason: {safe_words(str(reason), call=call)})" if reason else ""
    return HalfAnswer(f"{call.endpoint} broke off an answer of {call.model} before its end{why}.")


def server_of(answer: JsonObject) -> str:
    """What the server says it is."""
    model, fingerprint = answer.get("model"), answer.get("system_fingerprint")
    if isinstance(model, str):
        return f"{model} {fingerprint}" if isinstance(fingerprint, str) else model
    return fingerprint if isinstance(fingerprint, str) else ""
