"""What adapters share: a chat's body in OpenAI's format, asked through a client, and the answer in the same format."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self, cast

from metaspo.backends import Completion, Request, read_chat_call
from metaspo.backends.chat.answer import chat_answer
from metaspo.scheduling import CallFailed, Client, call_failed, is_sampled
from metaspo.serving import open_client

ROLLOUT_STEP = 1 << 20  # draws of one rollout


def request_of(body: Mapping[str, Any]) -> Request:
    """A chat's body as a request, for one answer. Raises `CallFailed` for what cannot be done."""
    requests = requests_of(body)
    if len(requests) > 1:
        raise CallFailed("`n` must be 1 here: ask as often for as many samples.", kind="request")
    return requests[0]


def requests_of(body: Mapping[str, Any]) -> list[Request]:
    """A chat's body as a request for each of the `n` answers that it wants. Further fields may stand in `extra_body`,
    as OpenAI's own client takes them. Raises `CallFailed` for what cannot be done."""
    further = body.get("extra_body") or {}
    if not isinstance(further, Mapping):
        kind = type(further).__name__
        raise CallFailed(f"`extra_body` must be a mapping of further fields, not a {kind}.", kind="request")
    try:
        call = read_chat_call({**body, "extra_body": None, **further})
    except ValueError as error:
        raise call_failed(error) from error
    return [call.request] * call.choices


def complete_all(client: Client, requests: Sequence[Request]) -> list[Completion]:
    """The answers to the requests of one call. Raises `CallFailed`."""
    if len(requests) == 1:  # goes with all that others ask at the moment
        return [client.complete(requests[0])]
    return completions_of(client.complete_many(requests))


async def acomplete_all(client: Client, requests: Sequence[Request]) -> list[Completion]:
    """The same for coroutines."""
    if len(requests) == 1:
        return [await client.acomplete(requests[0])]
    return completions_of(await client.acomplete_many(requests))


def completions_of(answers: Sequence[Completion | CallFailed]) -> list[Completion]:
    """The answers of a batch. Raises the `CallFailed` of the first request that has none, when all others are kept."""
    completions = []
    for answer in answers:
        if isinstance(answer, CallFailed):
            raise answer
        completions.append(answer)
    return completions


def answer_of(*completions: Completion, model: str) -> dict[str, Any]:
    """Completions as the body of an answer, each a choice."""
    return chat_answer(completions, model=model, answer_id="metaspo", created=0)


@contextmanager
def errors_as(error_of: Callable[[CallFailed], Exception]) -> Iterator[None]:
    """A client's failure as the error that a package has for it."""
    try:
        yield
    except CallFailed as failed:
        raise error_of(failed) from failed


def nth_of_rollout(request: Request, rollout: int, number: int) -> Request:
    """A request for the sample that a rollout's number, and a count within it, name; as it is where nothing is
    sampled."""
    if not is_sampled(request):
        return request
    return replace(request, draw=(abs(rollout) + 1) * ROLLOUT_STEP + number)


class _Configs:
    """The clients of configs' files."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def client(self, config: str) -> Client:
        """The client of a file, one for all threads; a new one where it was closed."""
        with self._opening:
            client = self._clients.get(config)
            if client is None or client.closed:
                client = self._clients[config] = open_client(Path(config))
            return client

    def _renew(self) -> None:
        """In a fork there are neither the threads of its parent's clients nor whoever held the lock."""
        self._opening = threading.Lock()
        self._clients: dict[str, Client] = {}


_CONFIGS: Final = _Configs()


def client_from(client: Client | str | Path) -> Client:
    """A client, or that of a config's file, one for all who name it; it is closed when the interpreter ends."""
    return client if isinstance(client, Client) else _CONFIGS.client(config_of(client))


def config_of(client: Client | str | Path) -> str:
    """The whole path of the config that is named; "" for a client. Raises `TypeError` for what is neither."""
    if isinstance(client, Client):
        return ""
    if not isinstance(cast(object, client), str | Path):
        raise TypeError(f"client: give a metaspo.Client or the path of a config; this is a {type(client).__name__}")
    return str(Path(client).resolve())


class Connection:
    """To a client, or to that of a config's file for as long as it is open, and a new one in each forked process.

    Attributes:
        config: the file's path; "" for a client.
    """

    def __init__(self, client: Client | str | Path) -> None:
        """Opens the client of a config at once, so that its mistakes are told now."""
        self._client = client if isinstance(client, Client) else None
        self.config = config_of(client)
        client_from(client)

    def __deepcopy__(self, _memo: object) -> Self:
        return self  # as the client is

    @property
    def client(self) -> Client:
        """That is asked."""
        return self._client or client_from(self.config)


class ChatModel(Connection):
    """A model behind a client with the settings of its requests: texts for chats.

    Attributes:
        name: the model's.
    """

    def __init__(self, name: str, client: Client | str | Path, settings: Mapping[str, object]) -> None:
        """`settings` are fields of a chat's body (`temperature`, `max_tokens` …). Raises `CallFailed` for those that
        cannot be."""
        super().__init__(client)
        self.name = name
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self.request([{"role": "user", "content": ""}])

    def request(self, messages: Sequence[Mapping[str, Any]]) -> Request:
        """A chat with the model. Raises `CallFailed`."""
        return request_of({"model": self.name, "messages": [dict(m) for m in messages], **self._settings})

    def text(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The text of the answer. Raises `CallFailed`."""
        return self.client.complete(self.request(messages)).text

    def answers(self, chats: Sequence[Sequence[Mapping[str, Any]]]) -> list[Completion | CallFailed]:
        """Many at once, by position, as `Client.complete_many`."""
        return self.client.complete_many([self.request(messages) for messages in chats])

    def texts(self, chats: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
        """The texts of many answers, by position. Raises as `completions_of`."""
        return [completion.text for completion in completions_of(self.answers(chats))]


def as_chat(prompt: str | Sequence[Mapping[str, Any]], *, system: str | None = None) -> list[Mapping[str, Any]]:
    """Messages: a user's one for a text, after a system prompt where there is one."""
    told = [{"role": "system", "content": system}] if system else []
    return [*told, *([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)]
