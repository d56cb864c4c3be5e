"""HTTP responses as nearly all are, read in one go: whole, plain, of a length that is told. All others are aiohttp's.

aiohttp makes a parser, a message, a table of headers and a stream for each response, which costs more than sending the
request. What is read here is read as aiohttp reads it; whatever is not surely so goes to its parser, from the first
byte on: other statuses than 200, pieces, streams, packed or long bodies, and all that is odd in a head.
"""

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from aiohttp.client_proto import ResponseHandler

from metaspo.backends.late_patterns import late_pattern

LONGEST = 256 << 10
"""Bytes of a body that is read here; no caller's bound is below it."""

_LONGEST_HEAD = 8 << 10  # bytes; those of aiohttp may be longer
_OK = b"HTTP/1.1 200 OK\r\n"
_END = b"\r\n\r\n"

_LINE = late_pattern(r"^([A-Za-z0-9-]+): ?([!-~][ -~]*)\r\n", re.MULTILINE)
_OTHERWISE = ("transfer-encoding", "content-encoding", "upgrade", "trailer")  # say more of a body than its length


Plain = tuple[Mapping[str, str], bytes]
"""Headers by lower-case names, and body, of a response with status 200."""


class Head(NamedTuple):
    """What is known of a plain response before all of it is here: where its body begins and ends, in bytes."""

    headers: Mapping[str, str]
    start: int
    end: int


def plain_head(data: bytes) -> Head | None:
    """The head of a plain response that the bytes begin with; None if they do not, or it is not whole."""
    if not data.startswith(_OK):
        return None
    end = data.find(_END, len(_OK), _LONGEST_HEAD)
    told = _read_lines(data[len(_OK) : end + 2]) if end != -1 else None
    if told is None:
        return None
    headers, length = told
    return Head(headers, end + 4, end + 4 + length)


@lru_cache(maxsize=64)  # heads that come together differ by their second and the length of the body, if at all
def _read_lines(lines: bytes) -> tuple[Mapping[str, str], int] | None:
    """Headers, and the length of the body; None if they are not those of a plain response."""
    if not lines.isascii():
        return None
    text = lines.decode("ascii")
    fields = _LINE.findall(text)
    headers = {name.lower(): value for name, value in fields}
    if len(headers) < len(fields) or len(fields) != text.count("\n") or not headers.keys().isdisjoint(_OTHERWISE):
        return None
    length = headers.get("content-length", "")
    if not length.isdigit() or len(length) > len(str(LONGEST)) or int(length) > LONGEST:
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return MappingProxyType(headers), int(length)


class FirstReader(asyncio.Protocol):
    """Stands before aiohttp's protocol of a connection: reads plain responses, and passes on everything else."""

    def __init__(self, handler: ResponseHandler, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self._waiter: asyncio.Future[Plain | None] | None = None
        self._head: Head | None = None
        self._data = b""

    def expect(self) -> "asyncio.Future[Plain | None]":
        """The response to what is sent now; None as soon as it is aiohttp's to read, and from then on it does."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def data_received(self, data: bytes) -> None:
        """More of a response, or what nobody asked for."""
        if self._waiter is None:
            self._handler.data_received(data)
            return
        if self._data:
            data = self._data + data
        head = self._head or plain_head(data)
        if head is None or len(data) > head.end:
            self._pass_on(data)
        elif len(data) < head.end:
            self._head, self._data = head, data
        else:
            self._answer((head.headers, data[head.start :]))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._pass_on(self._data)
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """It does not any more."""
        self._handler.resume_writing()

    def _pass_on(self, data: bytes) -> None:
        """This response is aiohttp's, from here on and what has come of it."""
        if self._waiter is not None:
            self._handler.set_response_params(read_until_eof=True, auto_decompress=False)
            self._answer(None)
            if data:
                self._handler.data_received(data)

    def _answer(self, plain: Plain | None) -> None:
        waiter, self._waiter, self._head, self._data = self._waiter, None, None, b""
        if waiter is not None and not waiter.done():
            waiter.set_result(plain)
