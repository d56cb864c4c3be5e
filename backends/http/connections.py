"""Kept connections to one server: aiohttp's pool and parser, without what its sessions make anew for each request.

Of a session, each request is an object, its body a task, its response an object again, which is half of what a call
costs. Here it is bytes: a head, which is the same for all that go to one address, its body's length, and its body.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from yarl import URL

from metaspo.backends.http.plain_response import FirstReader

_TO_BE_LEFT = frozenset({hdrs.CONTENT_LENGTH, hdrs.CONTENT_TYPE})  # each request says its own
_MAX_SPOILT = 100  # kept connections that are passed over by one request
_AT_HAND = 0.25  # seconds at most that a connection is kept outside of the pool, which closes idle ones
_TOO_LONG = 3.0  # seconds after which none at hand is used, where the event loop stood still: servers close idle ones
_NO_TRACES: list[aiohttp.tracing.Trace] = []

Where = tuple[str, bool]
"""A URL, and whether something is posted there."""


class Begun(NamedTuple):
    """A response whose head is here, or all of it. Whoever has it lets go of its connection, or closes that."""

    status: int
    headers: Mapping[str, str]
    content: aiohttp.StreamReader | bytes
    connection: Connection
    where: Where


class Connections:
    """To be used within one event loop."""

    def __init__(
        self, connector: aiohttp.TCPConnector, *, headers: Mapping[str, str], proxy: str | None, connect_limit: float
    ) -> None:
        """`headers` go with every request; `connect_limit` in seconds."""
        self._loop = asyncio.get_running_loop()
        self._connector = connector
        self._headers = headers
        self._proxy = URL(proxy) if proxy else None
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_limit)
        self._targets: dict[Where, aiohttp.ClientRequest] = {}
        self._heads: dict[Where, bytes] = {}
        self._at_hand: defaultdict[Where, deque[Connection]] = defaultdict(deque)
        self._to_pool: asyncio.TimerHandle | None = None
        self._used_until = 0.0

    async def begin(self, url: str, body: bytes | None) -> Begun:
        """POST JSON, or GET where there is no body, and wait for the head of the response; redirects are responses.

        Raises `aiohttp.ClientError`, `aiohttp.http.HttpProcessingError` for what is not HTTP, and `OSError`.
        """
        where = url, body is not None
        target = self._targets.get(where) or self._add_target(where)
        try:
            connection = self._from_hand(where) or await self._connect(target)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {self._timeout.sock_connect} s") from error
        try:
            protocol, transport = connection.protocol, connection.transport
            assert protocol is not None
            assert transport is not None
            reader = transport.get_protocol()
            if type(reader) is not FirstReader:
                reader = FirstReader(protocol, self._loop)
                transport.set_protocol(reader)
            response = reader.expect()
            head = self._heads.get(where) or self._add_head(where, target)
            transport.write(head if body is None else b"%b%d\r\n\r\n%b" % (head, len(body), body))
            plain = await response
            if plain is not None:
                return Begun(200, *plain, connection, where)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
        except aiohttp.EofStream:  # the connection had ended in order before it was read from
            connection.close()
            raise aiohttp.ServerDisconnectedError from None
        except BaseException:
            connection.close()
            raise
        return Begun(message.code, message.headers, content, connection, where)

    def let_go(self, begun: Begun) -> None:
        """Its connection is for others now, if all was sent. Who takes it sees whether it can be used: that all was
        read, and the server keeps it open."""
        connection = begun.connection
        transport = connection.transport
        if transport is None or transport.get_write_buffer_size():
            connection.close()
            return
        self._at_hand[begun.where].append(connection)
        if self._to_pool is None:
            self._to_pool = self._loop.call_at(self._loop.time() + _AT_HAND, self._put_into_pool)
            self._used_until = monotonic() + _TOO_LONG

    def _from_hand(self, where: Where) -> Connection | None:
        """One that was let go a moment ago, of which the pool need not know: it takes longer to give one out and to
        take it back than a request takes to be sent."""
        at_hand = self._at_hand[where]
        while at_hand:
            connection = at_hand.popleft()  # of which an end on its way would be known by now
            if _is_fresh(connection) and monotonic() < self._used_until:
                return connection
            connection.close()
        return None

    def _put_into_pool(self) -> None:
        for at_hand in self._at_hand.values():
            for connection in at_hand:
                connection.release()
            at_hand.clear()
        self._to_pool = None

    async def _connect(self, target: aiohttp.ClientRequest) -> Connection:
        for _ in range(_MAX_SPOILT):
            connection = await self._connector.connect(target, _NO_TRACES, self._timeout)
            if _is_fresh(connection):
                return connection
            connection.close()
        raise aiohttp.ServerDisconnectedError

    async def close(self) -> None:
        """Close them; idempotent."""
        if self._to_pool is not None:
            self._to_pool.cancel()
            self._put_into_pool()
        await self._connector.close()

    def _add_target(self, where: Where) -> aiohttp.ClientRequest:
        """What the pool knows an address by. Raises `aiohttp.InvalidURL`."""
        url, has_body = where
        try:
            address = URL(url)
        except ValueError:
            raise aiohttp.InvalidURL(url) from None
        if address.scheme not in ("http", "https"):
            raise aiohttp.InvalidURL(url)
        target = self._targets[where] = aiohttp.ClientRequest(
            "POST" if has_body else "GET",
            address,
            headers=self._headers,
            proxy=self._proxy,
            loop=self._loop,
        )
        return target

    def _add_head(self, where: Where, target: aiohttp.ClientRequest) -> bytes:
        """The head up to the length of the body; made once there is a connection, which may take a proxy's key."""
        has_body = where[1]
        by_proxy = target.proxy is not None and not target.is_ssl()
        lines = [f"{target.method} {target.url if by_proxy else target.url.raw_path_qs} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in target.headers.items() if name not in _TO_BE_LEFT]
        if has_body:
            lines.append("Content-Type: application/json")
        head = self._heads[where] = "\r\n".join([*lines, "Content-Length: " if has_body else "\r\n"]).encode()
        return head


def _is_fresh(connection: Connection) -> bool:
    """Whether it is open, and nothing has come over it that nobody asked for: that would be taken for the answer to
    what is sent next, such as the 408 of a server that lets go of an idle connection. One whose end was read in this
    turn of the event loop still has its transport, which drops what is written."""
    protocol, transport = connection.protocol, connection.transport
    return not (protocol is None or transport is None or transport.is_closing() or protocol.should_close)
