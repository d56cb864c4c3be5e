"""What a backend is: one endpoint of one model, asked one request at a time.

Everything above (cache, scheduling, engine) speaks in these records. A backend knows nothing of queues, limits or
retries: it sends one request once and returns a `Reply` or raises a `BackendError`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import orjson

JsonObject = Mapping[str, Any]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
CONTENT_FILTER = "content_filter"
"""The finish reason of an answer that the model or its provider refused to give."""


def json_text(value: object) -> str:
    """One text for what is the same as JSON; "" for an object without fields."""
    if value == {}:
        return ""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat.

    Attributes:
        content: its text; of a content in parts, the text of those that are text.
        extra: further fields as a JSON object's text (`name`, `tool_calls`, `tool_call_id` …), "" for none. A `content`
            in it, such as a list of parts with images, is what is sent.
    """

    role: Role
    content: str
    extra: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the answer is drawn. `None` leaves a parameter out of the call, which is not the same as any value.

    Attributes:
        max_tokens: upper bound of the answer, in tokens; the backend picks the parameter name the model takes.
        extra: further body fields as a JSON object's text, "" for none. May be given as that object, e.g.
            {"reasoning_effort": "none"} or one with `tools`.
    """

    max_tokens: int | None = 1024
    temperature: float | None = 0.0
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    extra: str = ""

    if TYPE_CHECKING:  # what may be given is more than what is kept

        def __init__(
            self,
            *,
            max_tokens: int | None = 1024,
            temperature: float | None = 0.0,
            top_p: float | None = None,
            seed: int | None = None,
            stop: tuple[str, ...] = (),
            extra: str | JsonObject = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        given: object = self.extra
        if not isinstance(given, str):
            object.__setattr__(self, "extra", json_text(given))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to one model: everything that determines the answer, nothing that does not.

    Attributes:
        revision: tells apart different weights served under one model name; "" where there is only one.
        response_format: the `response_format` field as JSON text, "" for none. May be given as the object that it says,
            e.g. {"type": "json_object"}.
        draw: tells apart repeated samples of the same request at temperature > 0; never sent to the server.
        path: "" for a chat. "completions", "embeddings" or "responses": what is asked below the base URL, with the
            model and `sampling.extra` for a body; such a request has no messages.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    revision: str = ""
    response_format: str = ""
    draw: int = 0
    path: str = field(default="", repr=False)

    if TYPE_CHECKING:  # what may be given is more than what is kept

        def __init__(
            self,
            *,
            model: str,
            messages: tuple[Message, ...],
            sampling: Sampling = ...,
            revision: str = "",
            response_format: str | JsonObject = "",
            draw: int = 0,
            path: str = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        given: object = self.response_format
        if not isinstance(given, str):
            object.__setattr__(self, "response_format", json_text(given))


class Usage(NamedTuple):
    """Tokens of one call as the server counted them; `cached_tokens` is the part of the prompt it had cached."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Completion(NamedTuple):
    """A whole answer, or a refusal that came as one: it is paid for like any other and would be the same again.

    Attributes:
        text: the answer; of a refusal, what the model said about it or "".
        finish_reason: "stop", "length" or "tool_calls", in whatever words the server said so, or `CONTENT_FILTER` for
            any refusal.
        latency: seconds from sending to the last byte.
        server: what the server says it is (model name and fingerprint), "" if it says nothing.
        reasoning: what the model thought before it answered, as far as the server shows it; no part of `text`.
        rest: what else the answer holds, as a JSON object's text; "" for nothing. Of a chat: `tool_calls`, `logprobs`
            and whatever the message has beside its text, with the answer's `id` and `usage`; of a request with a
            `path`: the whole answer.
    """

    text: str
    finish_reason: str
    usage: Usage
    latency: float
    server: str = ""
    reasoning: str = ""
    rest: str = ""

    @property
    def only_thought(self) -> bool:
        """Whether the limit of its length was reached before the answer began."""
        return not self.text and bool(self.reasoning) and self.finish_reason == "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitHints:
    """What a provider's `x-ratelimit-*` headers say; any of them may be missing. `*_reset` is in seconds."""

    requests_limit: int | None = None
    requests_remaining: int | None = None
    requests_reset: float | None = None
    tokens_limit: int | None = None
    tokens_remaining: int | None = None
    tokens_reset: float | None = None


class Reply(NamedTuple):
    """A completion, and what its headers told about the provider's limits (None where they told nothing)."""

    completion: Completion
    hints: LimitHints | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server answers when asked who it is.

    Attributes:
        models: names it serves.
        context: the longest prompt plus answer in tokens, if it says so.
    """

    models: tuple[str, ...]
    context: int | None = None


class Backend(Protocol):
    """One endpoint. Implementations are safe to call from many coroutines at once."""

    @property
    def name(self) -> str:
        """A label for events and messages: host and port, never a credential."""
        ...

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Send the request once; `time_limit` in seconds. Raises a `BackendError`, when it is awaited."""
        ...

    async def probe(self) -> ServerInfo:
        """Ask the server who it is, without spending anything. Raises a `BackendError`."""
        ...

    async def load(self) -> Mapping[str, float]:
        """The server's own gauges ("running", "waiting", "preemptions"); empty where it has none to show."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and processes; idempotent."""
        ...


@runtime_checkable
class Startable(Protocol):
    """What a backend also is if it has much to do before its first call, such as loading a model."""

    async def start(self) -> None:
        """Get ready, however long that takes; at once if it is already. Raises a `BackendError`.

        A lane awaits it before the first call, so that it does not count against a call's time limit.
        """
        ...
