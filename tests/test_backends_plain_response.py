"""A response that is read in one go is what aiohttp reads, and whatever else comes is aiohttp's to read."""

import asyncio
from contextlib import closing, suppress
from typing import Any, cast

import pytest
from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import BackendError, ConnectionLost, Message, OpenAICompatible, Request, Sampling
from metaspo.backends.http.plain_response import LONGEST, FirstReader, plain_head

REQUEST = Request(model="m", messages=(Message("user", "Is it so?"),), sampling=Sampling(max_tokens=16))
BODY = b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}'
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
PLAIN = OK + b"date: Sun, 29 Nov 2026 10:00:00 GMT\r\n" + LENGTH + b"\r\n" + BODY
LINES = (
    *(LENGTH, LENGTH.upper(), b"content-length:%d\r\n" % len(BODY), b"content-length: 7\r\n", b"content-length: \r\n"),
    *(b"content-length: +7\r\n", b"content-length: 7, 7\r\n", b"transfer-encoding: chunked\r\n"),
    *(b"connection: close\r\n", b"Connection: Keep-Alive\r\n", b"connection: upgrade\r\n", b"upgrade: h2c\r\n"),
    *(b"content-encoding: gzip\r\n", b"x-ratelimit-limit-requests: 500\r\n", b"X-RateLimit-Limit-Requests: 7\r\n"),
    *(b"date: now\r\n", b" folded\r\n", b"\tfolded\r\n", b"name : x\r\n", b": x\r\n", b"x\r\n", b"x: a\nb: c\r\n"),
    *(b"x: a\rb: c\r\n", b"x: \xe9\r\n", b"x: \x00\r\n", b"x: a \r\n", b"x:  a\r\n", b"x:a: b\r\n", b"x_y: z\r\n"),
)
STARTS = (*[OK] * 4, b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 OK\r\n", b"HTTP/1.1 200 O\nK\r\n", b"HTTP/1.1 200 OK\n")


class _Transport:
    """Of a connection that nothing goes over."""

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


async def _by_aiohttp(data: bytes) -> ResponseHandler:
    handler = ResponseHandler(asyncio.get_running_loop())
    handler.transport = cast("Any", _Transport())
    handler.set_response_params(read_until_eof=True, auto_decompress=False)
    handler.data_received(data)
    return handler


@given(
    st.sampled_from(STARTS),
    st.lists(st.sampled_from(LINES), max_size=2),
    st.one_of(st.just(b""), st.binary(max_size=2)),
    st.integers(0, 200),
)
async def test_what_is_plain_is_what_aiohttp_reads(start: bytes, lines: list[bytes], odd: bytes, at: int) -> None:
    """The same headers and the same body, on a connection that can be used again."""
    data = start + LENGTH + b"".join(lines) + b"\r\n" + BODY
    data = data[:at] + odd + data[at:]
    head = plain_head(data)
    if head is None or head.end != len(data):
        return
    handler = await _by_aiohttp(data)
    message, content = await handler.read()
    assert message.code == 200
    assert {name.lower(): value for name, value in message.headers.items()} == {
        name: value.strip() for name, value in head.headers.items()
    }
    assert await content.read() == data[head.start :]
    assert not handler.should_close


@pytest.mark.parametrize("data", [PLAIN, OK + LENGTH.upper() + b"Connection: Keep-Alive\r\n\r\n" + BODY])
def test_a_plain_response_is_known_as_one(data: bytes) -> None:
    """Else nothing would be won."""
    head = plain_head(data)
    assert head is not None
    assert data[head.start : head.end] == BODY


@pytest.mark.parametrize(
    "line", [b"connection: close\r\n", b"transfer-encoding: chunked\r\n", LENGTH, b"x: a\nb: c\r\n"]
)
def test_what_is_odd_is_not_plain(line: bytes) -> None:
    """Of two lengths, none is to be trusted."""
    assert plain_head(OK + LENGTH + line + b"\r\n" + BODY) is None


async def _answers(pieces: list[bytes]) -> list[str]:
    """Of two calls, one after the other, to a server that sends these pieces for each, and closes if that is less than
    a response."""
    opened = 0
    handlers: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        handlers.append(cast("asyncio.Task[None]", asyncio.current_task()))
        with closing(writer), suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    for _ in range(5):  # turns in which the other side reads it alone
                        await asyncio.sleep(0)
                if len(b"".join(pieces)) < len(PLAIN):
                    break
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    backend = OpenAICompatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    texts: list[str] = []
    for _ in range(2):
        try:
            texts.append((await backend.complete(REQUEST, time_limit=30)).completion.text)
        except ConnectionLost as lost:
            texts.append("lost" if lost.before_answer else "broken")
        except BackendError as error:
            texts.append(type(error).__name__)
    await backend.aclose()
    server.close()
    await asyncio.gather(*handlers)
    return [*texts, str(opened)]


@pytest.mark.parametrize("at", [5, 17, 20, 50, 84, 85, 88, len(PLAIN) - 1])
async def test_a_response_in_pieces_is_one(at: int) -> None:
    """Wherever it is cut, over one connection."""
    assert await _answers([PLAIN[:at], PLAIN[at:]]) == ["yes", "yes", "1"]


@pytest.mark.parametrize(("at", "expected"), [(0, "lost"), (5, "broken"), (50, "broken"), (90, "broken")])
async def test_a_response_that_is_cut_off_is_none(at: int, expected: str) -> None:
    """Nothing came, or some of it."""
    assert await _answers([PLAIN[:at]]) == [expected, expected, "2"]


async def test_more_than_a_response_spoils_its_connection() -> None:
    """The rest is nobody's answer."""
    assert await _answers([PLAIN + PLAIN]) == ["yes", "yes", "2"]


class Handler:
    """Keeps what is passed on to it."""

    def __init__(self) -> None:
        self.told: list[str | bytes] = []

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def set_response_params(self, **_params: object) -> None:
        self.told.append("yours")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


@pytest.mark.parametrize("at", [1, len(OK), len(PLAIN) - len(BODY), len(PLAIN) - 1])
async def test_what_is_plain_never_gets_to_aiohttp_and_what_is_not_gets_there_whole(at: int) -> None:
    """From its first byte on, also what came before it was known; and nothing of one response is in the next."""
    handler = Handler()
    reader = FirstReader(cast("ResponseHandler", handler), asyncio.get_running_loop())
    for body in (BODY, BODY[::-1]):
        response = reader.expect()
        data = PLAIN.replace(BODY, body)
        for piece in (data[:at], data[at:]) if at >= len(PLAIN) - len(BODY) else (data,):
            assert not response.done()
            reader.data_received(piece)
        plain = await response
        assert plain is not None
        assert plain[1] == body
    assert handler.told == []
    reader.data_received(PLAIN[:at])  # which nobody asked for
    assert handler.told == [PLAIN[:at]]
    response = reader.expect()
    reader.data_received(PLAIN)
    assert (await response or pytest.fail("it was passed on"))[1] == BODY
    response = reader.expect()
    odd = PLAIN.replace(b"200", b"500")
    reader.data_received(odd)
    assert await response is None
    reader.data_received(BODY)
    reader.connection_lost(None)
    assert handler.told == [PLAIN[:at], "yours", odd, BODY, "lost"]


async def test_what_had_come_of_a_response_as_the_connection_ends_is_aiohttps() -> None:
    handler = Handler()
    reader = FirstReader(cast("ResponseHandler", handler), asyncio.get_running_loop())
    response = reader.expect()
    reader.data_received(PLAIN[:-1])
    reader.connection_lost(None)
    assert await response is None
    assert handler.told == ["yours", PLAIN[:-1], "lost"]
    given_up = reader.expect()
    given_up.cancel()
    reader.data_received(PLAIN)
    assert handler.told == ["yours", PLAIN[:-1], "lost"]


@pytest.mark.parametrize(
    ("length", "is_plain"), [(0, True), (LONGEST, True), (LONGEST + 1, False), (10 * LONGEST, False)]
)
def test_a_body_is_plain_up_to_its_longest(length: int, is_plain: bool) -> None:
    """Beyond it the body is bounded by what the caller asked for."""
    head = plain_head(OK + b"content-length: %d\r\n\r\n" % length)
    assert (head is not None) is is_plain
    if head is not None:
        assert head.end - head.start == length


@pytest.mark.parametrize(("more", "is_plain"), [(0, True), (8 << 10, False)])
def test_a_long_head_is_not_plain(more: int, is_plain: bool) -> None:
    """What is remembered of heads has a bound."""
    assert (plain_head(OK + LENGTH + b"x-more: " + b"m" * more + b"m\r\n\r\n" + BODY) is not None) is is_plain
