"""What the adapters' tests share: a client of a real server on the loopback that says something new in every answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from chat_server import ChatServer

from metaspo import Client, Lane, OpenAICompatible


@contextmanager
def counting_server(text: str = "yes {number}") -> Iterator[ChatServer]:
    """Answers with the text and the number of the call."""
    numbers = count()
    with ChatServer(lambda _request: text.format(number=next(numbers))) as server:
        yield server


def client_of(server: ChatServer, folder: Path) -> Client:
    """A client of that server, with a cache on disk."""
    return Client([Lane("m", [OpenAICompatible(server.url)])], cache=folder / "cache")
