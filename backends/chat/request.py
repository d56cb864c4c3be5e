"""OpenAI's formats the other way round: a body that somebody sends us to a `Request`. Nothing is dropped in silence.

What does not determine the answer (`UNASKED`) is left out, because an answer belongs to everybody who asks the same.
What cannot be done is refused with a sentence.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast, get_args

import orjson

from metaspo.backends.base import Message, Request, Role, Sampling, json_text
from metaspo.backends.chat.raw_reply import PATHS

UNASKED = ("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "stream_options", "user")
"""Who asks, for whom, and how the answer is to be sent: never passed on, and no part of a request's key."""

MAX_CHOICES = 128
REMEMBERED = 2_000
"""Bytes of the longest further fields of a chat that are remembered: tools may be many."""
_REFUSED = {
    "store": "nothing is kept at the provider for later: leave `store` out, or set it to false",
    "background": "an answer is waited for: leave `background` out",
    "previous_response_id": "a request stands for itself: send the whole conversation as `input`",
    "conversation": "a request stands for itself: send the whole conversation as `input`",
}
_ROLES = frozenset(get_args(Role))
_NUMBER = (int, float)


class ChatCall(NamedTuple):
    """What a chat body asks for.

    Attributes:
        choices: answers wanted, each a draw of its own.
        stream: whether the answer is to come as events; include_usage: with the tokens in the last of them.
    """

    request: Request
    choices: int = 1
    stream: bool = False
    include_usage: bool = False


def read_chat_call(body: object) -> ChatCall:
    """A chat completion's body as a request. Raises `ValueError` with a sentence for what it cannot be."""
    fields = _fields(body)
    model = _model(fields)
    raw_messages = fields.pop("messages", None)
    if not isinstance(raw_messages, list) or not raw_messages:
        raise ValueError("`messages` must be a list of at least one message.")
    messages = tuple([_message(message, number) for number, message in enumerate(raw_messages)])
    asked = _manner_of(fields)
    request = Request(
        model=model,
        messages=messages,
        sampling=asked.sampling,
        response_format=asked.response_format,
    )
    return ChatCall(request=request, choices=asked.choices, stream=asked.stream, include_usage=asked.include_usage)


class _Manner(NamedTuple):
    """How a chat is to be answered, which is the same for most requests of a program."""

    sampling: Sampling
    response_format: str
    choices: int
    stream: bool
    include_usage: bool


def _manner_of(fields: Mapping[str, Any]) -> _Manner:
    """What a body's further fields say; read once where they are short enough to be remembered."""
    try:
        text = orjson.dumps(fields)
    except orjson.JSONEncodeError:  # what it does not take, Python's own may
        return _read_manner(fields)
    plain = len(text) <= REMEMBERED and b"null" not in text  # which may also have been no number
    return _known_manner(text) if plain else _read_manner(fields)


@lru_cache(maxsize=256)
def _known_manner(text: bytes) -> _Manner:
    return _read_manner(orjson.loads(text))


def _read_manner(given: Mapping[str, Any]) -> _Manner:
    fields = dict(given)
    limits = [fields.pop(name) for name in ("max_tokens", "max_completion_tokens") if name in fields]
    if len(limits) == 2:
        raise ValueError("Give `max_tokens` or `max_completion_tokens`, not both.")
    choices = _whole(fields.pop("n", 1), "n", least=1)
    if choices is None or choices > MAX_CHOICES:
        raise ValueError(f"`n` must be at most {MAX_CHOICES}.")
    stream, options = _streams(fields), fields.pop("stream_options", {})
    response_format = fields.pop("response_format", None)
    sampling = Sampling(
        max_tokens=_whole(limits[0], "max_tokens", least=1) if limits else None,
        temperature=_number(fields.pop("temperature", None), "temperature"),
        top_p=_number(fields.pop("top_p", None), "top_p"),
        seed=_whole(fields.pop("seed", None), "seed"),
        stop=_stops(fields.pop("stop", None)),
        extra=json_text(_asked(fields)),
    )
    return _Manner(
        sampling=sampling,
        response_format=json_text(response_format) if response_format is not None else "",
        choices=choices,
        stream=stream,
        include_usage=bool(isinstance(options, Mapping) and options.get("include_usage")),
    )


def read_raw_request(path: str, body: object) -> Request:
    """A body for one of `PATHS` as a request. Raises `ValueError` with a sentence for what it cannot be."""
    if path not in PATHS:
        raise ValueError(f"There is no {path!r} here, only {', '.join(PATHS)}.")
    fields = _fields(body)
    model = _model(fields)
    if _streams(fields):
        raise ValueError(f"{path} are answered whole: leave `stream` out.")
    sampling = Sampling(max_tokens=None, temperature=None, extra=json_text(_asked(fields)))
    return Request(model=model, messages=(), sampling=sampling, path=path)


def read_message(message: object) -> Message:
    """One message of a chat. Raises `ValueError` for what is none."""
    return _message(message, 0)


def _fields(body: object) -> dict[str, Any]:
    """The fields that are given: null says no more than nothing."""
    if not isinstance(body, dict):
        raise ValueError("The body must be a JSON object.")
    return {name: value for name, value in body.items() if value is not None}


def _model(fields: dict[str, Any]) -> str:
    model = fields.pop("model", "")
    if not isinstance(model, str) or not model:
        raise ValueError("`model` must be the name of a model.")
    return model


def _asked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What is passed on as it is."""
    for name, why in _REFUSED.items():
        if fields.get(name):
            raise ValueError(f"`{name}` cannot be done: {why}.")
    return {name: value for name, value in fields.items() if name not in UNASKED}


def _message(fields: object, number: int) -> Message:
    if not isinstance(fields, dict) or not isinstance(fields.get("role"), str) or fields["role"] not in _ROLES:
        raise ValueError(f"Message {number} must be an object with a `role`: {', '.join(get_args(Role))}.")
    role, content = cast("Role", fields["role"]), fields.get("content")
    if isinstance(content, str) and len(fields) == 2:
        return Message(role, content)
    rest = {name: value for name, value in fields.items() if name not in ("role", "content") and value is not None}
    if isinstance(content, str):
        return Message(role, content, json_text(rest))
    if content is None and role != "assistant":
        raise ValueError(f"Message {number} has no `content`.")
    if content is not None and not _are_parts(content):
        raise ValueError(f"The content of message {number} must be a text or a list of parts, each with a `type`.")
    parts = content or []
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    return Message(role, text, json_text({**rest, "content": content}))


def _are_parts(content: object) -> bool:
    return isinstance(content, list) and all(
        isinstance(part, dict)
        and isinstance(part.get("type"), str)
        and (part["type"] != "text" or isinstance(part.get("text"), str))
        for part in content
    )


def _whole(value: object, name: str, *, least: int | None = None) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        raise ValueError(f"`{name}` must be a whole number{f' of at least {least}' if least is not None else ''}.")
    return value


def _streams(fields: dict[str, Any]) -> bool:
    """Whether the answer is to come in pieces; taken out of the fields."""
    if not isinstance(stream := fields.pop("stream", False), bool):
        raise ValueError("`stream` must be true or false.")
    return stream


def _number(value: object, name: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, _NUMBER) or isinstance(value, bool):
        raise ValueError(f"`{name}` must be a number.")
    return value


def _stops(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError("`stop` must be a text or a list of texts.")
    return tuple(stops)
