"""Kept connections: who gets one, what is sent over it, and when it is for others again."""

import asyncio
from collections.abc import Callable
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from metaspo.backends.http.connections import Connections

BODY = b'{"q": 1}'
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"
HEADERS = {"User-Agent": "m", "Accept": "*/*", "Accept-Encoding": "gzip", "X-Team": "red"}


class Protocol:
    """aiohttp's own of a connection, which reads what is not plain."""

    def __init__(self, *codes: int, spoilt: bool = False) -> None:
        self.should_close = spoilt
        self.codes = list(codes)

    def set_response_params(self, **_params: object) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        pass

    async def read(self) -> tuple[SimpleNamespace, bytes]:
        return SimpleNamespace(code=self.codes.pop(0), headers={}), b"body"


class Wire:
    """A connection with its transport; what is written is answered at once, unless there is nothing to say."""

    def __init__(self, answer: bytes = PLAIN, *, protocol: Protocol | None = None, unsent: int = 0) -> None:
        self.answer, self.unsent = answer, unsent
        self.protocol: Any = protocol or Protocol()
        self.transport: Any = self
        self.reader: Any = self.protocol
        self.sent: list[bytes] = []
        self.done: list[str] = []
        self.ending = False

    def get_protocol(self) -> object:
        return self.reader

    def set_protocol(self, reader: object) -> None:
        self.reader = reader

    def is_closing(self) -> bool:
        return self.ending

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        if self.answer:
            self.reader.data_received(self.answer)

    def close(self) -> None:
        self.done.append("closed")

    def release(self) -> None:
        self.done.append("released")


class Pool:
    """Gives out these connections, one after the other."""

    def __init__(self, *wires: Wire | BaseException) -> None:
        self.wires, self.closed = list(wires), 0

    async def connect(self, *_asked: object) -> Wire:
        wire = self.wires.pop(0)
        if isinstance(wire, BaseException):
            raise wire
        return wire

    async def close(self) -> None:
        self.closed += 1


def over(pool: Pool, *, proxy: str | None = None) -> Connections:
    return Connections(cast("Any", pool), headers=HEADERS, proxy=proxy, connect_limit=2.0)


@pytest.mark.parametrize(("unsent", "done"), [(0, []), (5, ["closed"])])
async def test_a_connection_over_which_all_was_sent_is_for_the_next_request(unsent: int, done: list[str]) -> None:
    wire, other = Wire(unsent=unsent), Wire()
    connections = over(Pool(wire, other))
    begun = await connections.begin("http://h.invalid/v1/x", BODY)
    assert (begun.status, begun.content, wire.done) == (200, b"yes", [])
    connections.let_go(begun)
    assert wire.done == done
    await connections.begin("http://h.invalid/v1/x", BODY)
    assert (len(wire.sent), len(other.sent)) == ((1, 1) if unsent else (2, 0))


@pytest.mark.virtual
@pytest.mark.parametrize("end", [asyncio.sleep, lambda seconds, connections: connections.close()])
async def test_one_that_nobody_wants_soon_is_the_pools_to_close(end: Callable[[float, Connections], Any]) -> None:
    wire = Wire()
    connections = over(Pool(wire))
    connections.let_go(await connections.begin("http://h.invalid/v1/x", BODY))
    await asyncio.sleep(0.2)
    assert wire.done == []
    await end(0.06, connections)
    assert wire.done == ["released"]


def _is_lost(wire: Wire) -> None:
    wire.transport = None


def _is_ending(wire: Wire) -> None:
    """The server's end was read in this turn of the loop; whom that concerns is told in the next one."""
    wire.ending = True


def _is_told_something(wire: Wire) -> None:
    wire.protocol.should_close = True


SPOILING = pytest.mark.parametrize("spoil", [_is_lost, _is_ending, _is_told_something])


async def test_one_that_is_lost_already_is_nobodys() -> None:
    wire = Wire()
    connections = over(Pool(wire))
    begun = await connections.begin("http://h.invalid/v1/x", BODY)
    wire.transport = None
    connections.let_go(begun)
    assert wire.done == ["closed"]


@SPOILING
@pytest.mark.parametrize("before", [True, False])
async def test_one_that_is_spoilt_before_it_is_let_go_or_after_is_closed(
    before: bool, spoil: Callable[[Wire], None]
) -> None:
    wire, other = Wire(), Wire()
    connections = over(Pool(wire, other))
    begun = await connections.begin("http://h.invalid/v1/x", BODY)
    if before:
        spoil(wire)
    connections.let_go(begun)
    if not before:
        spoil(wire)
    await connections.begin("http://h.invalid/v1/x", BODY)
    assert (len(wire.sent), wire.done, len(other.sent)) == (1, ["closed"], 1)


async def test_none_is_used_after_the_loop_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on then goes on before it is read that a server has closed what was idle meanwhile."""
    wire, other = Wire(), Wire()
    connections = over(Pool(wire, other))
    connections.let_go(await connections.begin("http://h.invalid/v1/x", BODY))
    later = monotonic() + 5.0
    monkeypatch.setattr("metaspo.backends.http.connections.monotonic", lambda: later)
    await connections.begin("http://h.invalid/v1/x", BODY)
    assert (len(wire.sent), wire.done, len(other.sent)) == (1, ["closed"], 1)


async def test_the_one_that_was_let_go_first_is_used_first() -> None:
    """Of a server that closes connections without a word, its end has most likely come by then."""
    wires = Wire(), Wire()
    connections = over(Pool(*wires))
    for begun in [await connections.begin("http://h.invalid/v1/x", BODY) for _ in wires]:
        connections.let_go(begun)
    await connections.begin("http://h.invalid/v1/x", BODY)
    assert [len(wire.sent) for wire in wires] == [2, 1]


async def test_one_to_another_address_is_left_to_requests_there() -> None:
    wire, other = Wire(), Wire()
    connections = over(Pool(wire, other))
    connections.let_go(await connections.begin("http://h.invalid/v1/x", BODY))
    await connections.begin("http://i.invalid/v1/x", BODY)
    assert (len(wire.sent), len(other.sent)) == (1, 1)


async def test_a_request_is_a_head_the_length_of_its_body_and_its_body() -> None:
    wire = Wire()
    connections = over(Pool(wire, wire, wire))
    for body in (BODY, BODY * 2):
        await connections.begin("http://h.invalid/v1/x?a=b", body)
    await connections.begin("http://h.invalid/v1/y", None)
    first, second, third = (sent.partition(b"\r\n\r\n") for sent in wire.sent)
    assert first[0].startswith(b"POST /v1/x?a=b HTTP/1.1\r\nHost: h.invalid\r\n")
    assert first[0].endswith(b"\r\nContent-Type: application/json\r\nContent-Length: %d" % len(BODY))
    assert (first[2], second[2], third[2]) == (BODY, BODY * 2, b"")
    assert second[0] == first[0].replace(b"Length: 8", b"Length: 16")
    assert third[0].startswith(b"GET /v1/y HTTP/1.1\r\n")
    assert b"Content-" not in third[0]
    assert all(part[0].count(b"X-Team: red") == 1 for part in (first, second, third))


@pytest.mark.parametrize(
    ("url", "proxy", "line"),
    [
        ("http://h.invalid/v1", "http://p.invalid:3128", b"GET http://h.invalid/v1 HTTP/1.1"),
        ("https://h.invalid/v1", "http://p.invalid:3128", b"GET /v1 HTTP/1.1"),
        ("http://h.invalid/v1", None, b"GET /v1 HTTP/1.1"),
    ],
)
async def test_a_proxy_is_told_the_whole_address_where_it_reads_the_request(
    url: str, proxy: str | None, line: bytes
) -> None:
    wire = Wire()
    await over(Pool(wire), proxy=proxy).begin(url, None)
    assert wire.sent[0].split(b"\r\n")[0] == line


@pytest.mark.parametrize("url", ["ftp://h.invalid/v1", "h.invalid", "http://[::1/v1"])
async def test_an_address_that_is_none_is_said_to_be(url: str) -> None:
    with pytest.raises(aiohttp.InvalidURL):
        await over(Pool()).begin(url, None)


@pytest.mark.parametrize("spoilt", [0, 1, 99, 100])
async def test_connections_over_which_something_came_are_passed_over(spoilt: int) -> None:
    """A hundred of them, and not for ever."""
    bad = [Wire(protocol=Protocol(spoilt=True)) for _ in range(spoilt)]
    good = Wire()
    connections = over(Pool(*bad, good))
    if spoilt < 100:
        assert (await connections.begin("http://h.invalid/v1", None)).content == b"yes"
    else:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await connections.begin("http://h.invalid/v1", None)
    assert all(wire.done == ["closed"] for wire in bad)
    assert good.done == []


async def test_no_connection_in_time_is_told_from_no_answer_in_time() -> None:
    with pytest.raises(aiohttp.ConnectionTimeoutError, match=r"no connection within 2\.0 s"):
        await over(Pool(TimeoutError())).begin("http://h.invalid/v1", None)
    with pytest.raises(ConnectionResetError):
        await over(Pool(ConnectionResetError())).begin("http://h.invalid/v1", None)


@pytest.mark.parametrize(
    ("codes", "status"), [((500,), 500), ((100, 404), 404), ((103, 100, 201), 201), ((101,), 101), ((200,), 200)]
)
async def test_what_is_announced_is_waited_for(codes: tuple[int, ...], status: int) -> None:
    begun = await over(Pool(Wire(b"HTTP/1.1 500 x\r\n\r\n", protocol=Protocol(*codes)))).begin(
        "http://h.invalid/", None
    )
    assert (begun.status, begun.content) == (status, b"body")


async def test_who_gives_up_leaves_no_connection_behind() -> None:
    wire, pool = Wire(b""), Pool()
    pool.wires.append(wire)
    call = asyncio.ensure_future(over(pool).begin("http://h.invalid/v1", BODY))
    await asyncio.sleep(0)
    assert (wire.sent != [], wire.done) == (True, [])
    call.cancel()
    await asyncio.wait([call])
    assert wire.done == ["closed"]


async def test_closing_closes_the_pool() -> None:
    pool = Pool()
    await over(pool).close()
    assert pool.closed == 1


class Ending(Wire):
    """Its server ends it before it answers, and whoever has it closes it before that is read."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.reader.connection_lost(None)
        self.protocol.close()


async def test_one_that_ended_and_was_closed_before_its_answer_was_read_is_a_lost_one() -> None:
    wire = Ending(b"")
    wire.protocol = wire.reader = ResponseHandler(asyncio.get_running_loop())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await over(Pool(wire)).begin("http://h.invalid/v1/x", BODY)
    assert wire.done == ["closed"]
