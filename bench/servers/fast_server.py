"""A chat server that costs as little as possible: one fixed answer to every request, as a process of its own.

Its headers are those of uvicorn, and so of vLLM: they change with the second.

Prints its port on standard output and serves until its standard input closes.
"""

import asyncio
import sys
from email.utils import formatdate
from functools import lru_cache
from time import time

from metaspo.bench.servers.completion import ANSWER

_LENGTH = b"content-length:"


@lru_cache(maxsize=1)
def response(second: int) -> bytes:
    """What is sent in that second since 1970."""
    lines = (
        "HTTP/1.1 200 OK",
        f"date: {formatdate(second, usegmt=True)}",
        "server: uvicorn",
        f"content-length: {len(ANSWER)}",
        "content-type: application/json",
    )
    return "\r\n".join((*lines, "", "")).encode() + ANSWER


class _Connection(asyncio.Protocol):
    """Finds the ends of requests, and nothing else."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (size := _request_size(self._buffer)) is not None and self._transport is not None:
            self._buffer = self._buffer[size:]
            self._transport.write(response(int(time())))


def _request_size(buffer: bytes) -> int | None:
    """Bytes of the first whole request; None if it is not whole yet."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = buffer[:end].lower()
    start = head.find(_LENGTH)
    body = int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0]) if start >= 0 else 0
    size = end + 4 + body
    return size if len(buffer) >= size else None


async def serve() -> None:
    """Serve on a free port of the loopback."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
