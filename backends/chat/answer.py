"""OpenAI's chat format the other way round: from completions to the body, or the events, that a client expects."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from metaspo.backends.base import Completion

JsonObject = dict[str, Any]
_OF_CHOICE = ("logprobs", "stop_reason")
_OF_ANSWER = ("id", "usage", "service_tier")


def chat_answer(completions: Sequence[Completion], *, model: str, answer_id: str, created: int) -> JsonObject:
    """The body of a chat completion with one choice for each; `created` in seconds since 1970."""
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_choice(index, completion) for index, completion in enumerate(completions)],
        "usage": usage_of(completions),
    }


def chat_events(
    completions: Sequence[Completion], *, model: str, answer_id: str, created: int, include_usage: bool
) -> Iterator[JsonObject]:
    """The same as a client gets it that asked for a stream: role, content and end of each choice, then the usage."""
    head = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": model}
    nothing: JsonObject = {"usage": None} if include_usage else {}
    for index, completion in enumerate(completions):
        choice = _choice(index, completion)
        message, logprobs = choice["message"], choice["logprobs"]
        role = {"role": message.pop("role"), "content": ""}
        for number, call in enumerate(message.get("tool_calls", ())):
            call.setdefault("index", number)
        pieces = [(role, None), *([(message, None)] if any(message.values()) else []), ({}, choice["finish_reason"])]
        for number, (delta, reason) in enumerate(pieces):
            event: JsonObject = {"index": index, "delta": delta, "finish_reason": reason}
            if logprobs and number == 1:
                event["logprobs"] = logprobs
            yield {**head, "choices": [event], **nothing}
    if include_usage:
        yield {**head, "choices": [], "usage": usage_of(completions)}


def usage_of(completions: Sequence[Completion]) -> JsonObject:
    """Tokens of all of them, each prompt counted: that is what was paid for."""
    prompt = completion = cached = reasoning = 0
    for each in completions:
        prompt += each.usage.prompt_tokens
        completion += each.usage.completion_tokens
        cached += each.usage.cached_tokens
        reasoning += _reasoning_tokens(each)
    usage: JsonObject = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    if reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


def rest_of(completion: Completion) -> JsonObject:
    """What the answer holds that a completion has no field for; {} for nothing."""
    if not completion.rest:
        return {}
    rest: JsonObject = orjson.loads(completion.rest)
    return rest


def tool_calls_of(completion: Completion) -> list[JsonObject]:
    """The tool calls that the answer asks for."""
    calls: list[JsonObject] = rest_of(completion).get("tool_calls") or []
    return calls


def _reasoning_tokens(completion: Completion) -> int:
    if not completion.rest:
        return 0
    details = (rest_of(completion).get("usage") or {}).get("completion_tokens_details") or {}
    tokens = details.get("reasoning_tokens")
    return tokens if isinstance(tokens, int) else 0


def _choice(index: int, completion: Completion) -> JsonObject:
    rest = rest_of(completion)
    message: JsonObject = {"role": "assistant", "content": completion.text}
    message.update((name, value) for name, value in rest.items() if name not in _OF_CHOICE + _OF_ANSWER)
    if rest.get("tool_calls") and not completion.text:
        message["content"] = None
    if completion.reasoning:
        message["reasoning_content"] = completion.reasoning
    return {
        "index": index,
        "message": message,
        "logprobs": rest.get("logprobs"),
        "finish_reason": completion.finish_reason,
        **({"stop_reason": rest["stop_reason"]} if "stop_reason" in rest else {}),
    }
