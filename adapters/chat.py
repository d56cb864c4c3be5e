"""What adapters share: a chat's body in OpenAI's format, asked through a client, and the answer in the same format."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from metaspo.backends import Completion, Request, chat_answer, read_chat_call
from metaspo.scheduling import Client, call_failed, is_sampled
from metaspo.serving import open_client

ROLLOUT_STEP = 1 << 20  # draws of one rollout


def request_of(body: Mapping[str, Any]) -> Request:
    """A chat's body as a request. Raises `CallFailed` for what cannot be done."""
    try:
        return read_chat_call(dict(body)).request
    except ValueError as error:
        raise call_failed(error) from error


def answer_of(completion: Completion, *, model: str) -> dict[str, Any]:
    """A completion as the body of an answer."""
    return chat_answer((completion,), model=model, answer_id="metaspo", created=0)


def nth_of_rollout(request: Request, rollout: int, number: int) -> Request:
    """A request for the sample that a rollout's number, and a count within it, name; as it is where nothing is
    sampled."""
    if not is_sampled(request):
        return request
    return replace(request, draw=(abs(rollout) + 1) * ROLLOUT_STEP + number)


@cache
def client_of_config(config: str) -> Client:
    """The client of a config's file, one for all who name it; it is closed when the interpreter ends."""
    return open_client(Path(config))


def client_from(client: Client | str | Path) -> Client:
    """A client, or that of a config's file."""
    return client if isinstance(client, Client) else client_of_config(str(Path(client).resolve()))
