"""Whole commands in this process against servers that are drawn: no socket, no waiting, books of the server's own."""

import asyncio
import contextlib
import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from gallery import answer
from multidict import CIMultiDict
from world import World

from metaspo import running
from metaspo.backends import Message, Request
from metaspo.backends.http.exchange import HttpExchange
from metaspo.backends.loops.virtual_time import VirtualTimeLoop
from metaspo.cli import main
from metaspo.scheduling.lanes.lateness import SOONEST

Json = Any
WORLD = World(3, malformed=0.1)
TOOK = {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100}
LATENCY = 0.5  # seconds of an answer ...
TIME_LIMIT = 5  # ... and those that a config gives it
ENDS = (0, 2, 3, 130)
MAX_ASKED = 400  # by any command here
JUNK: tuple[Json, ...] = (
    *(None, True, False, 0, -1, 3, 2.5, 2**70, -(2**70), float("nan"), float("inf")),
    *("", " ", "x", "7", "-3", "\ud800", "\x1b[2J\x9b", "[red]x[/red]", "null", "é" * 40, "word " * 900),
    *("stop", "length", "content_filter", "error", "tool_calls", "<think>", "</think>", "<answer>"),
    *([], {}, [[]], [None], {"": None}, {"error": "no"}, {"message": {"content": []}}, ["x", 1, {"text": "y"}]),
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended: its status, what it printed, and the virtual seconds it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The `error:` lines."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


_COMMAND = cache(typer.main.get_command)  # made anew for each command otherwise, which takes as long as running it


def run(*arguments: str) -> Ended:
    """Run a command to its end; whatever it raises but `SystemExit` is a fault and raised."""
    loops: list[VirtualTimeLoop] = []

    def virtual() -> asyncio.AbstractEventLoop:
        loops.append(VirtualTimeLoop())
        return loops[-1]

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = 0
    handler = logging.StreamHandler(err)  # as Python itself prints what is logged where nobody listens
    logging.getLogger().addHandler(handler)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(typer.main, "get_command", _COMMAND)
        patch.setattr(running, "new_event_loop", virtual)
        patch.setattr(running, "leave_alone_what_stays", lambda: None)  # or nothing of a thousand commands would go
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        finally:
            logging.getLogger().removeHandler(handler)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err) if not stream.flush()]  # type: ignore[func-returns-value]
    assert isinstance(code, int)
    return Ended(code, texts[0], texts[1], sum(loop.time() for loop in loops))


def check(ended: Ended) -> None:
    """What holds of every command, whatever it was given."""
    assert ended.code in ENDS, ended
    if ended.code in (2, 3):
        assert ended.errors, ended
        assert all(len(line) < 2_000 for line in ended.errors), ended
    for text in (ended.out, ended.err):
        assert "Traceback" not in text, ended
        assert all(char >= " " or char == "\n" for char in text), ended


@dataclass(frozen=True, slots=True)
class Odd:
    """What a server sends in place of an answer; or a connection that breaks, or stays silent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    breaks: Callable[[], Exception] | None = None
    hangs: bool = False
    seconds: float = LATENCY

    @property
    def may_charge(self) -> bool:
        """Whether a provider may take money for it: only for what is no plain refusal."""
        return self.status < 300 or self.hangs or self.breaks is not None or self.seconds > SOONEST  # else broken off


@dataclass(slots=True)
class Server:
    """Answers as the world does, but for the calls that are drawn; counts what it was asked, and what it charged for.

    Attributes:
        odd: what it sends then.
        when: whether a call (its number, its text) is one of these.
        answered: whole answers of the ordinary kind that were read to their end, each at `TOOK`.
    """

    odd: Odd
    when: Callable[[int, str], bool]
    asked: int = 0
    answered: int = 0

    def reply(self, body: str) -> Odd:
        """What a call gets."""
        number, self.asked = self.asked, self.asked + 1
        assert self.asked <= MAX_ASKED, "asked without an end"
        if not body:
            return self.odd if number % 2 else Odd(content=b'{"data": [{"id": "answerer"}]}')
        if self.when(number, body):
            return self.odd
        said = json.loads(body)
        messages = tuple(Message(each["role"], each["content"]) for each in said["messages"])
        known = said["model"] == "writer" or re.search(r"number \d", body)
        text = WORLD.answer(Request(model=said["model"], messages=messages, draw=number)) if known else "yes"
        return Odd(content=json.dumps(answer(text, usage=TOOK)).encode())


class _Connections:
    """In place of those of the network."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def begin(self, url: str, body: bytes | None) -> Json:
        reply = self._server.reply(body.decode() if body is not None else "")
        await asyncio.sleep(1e9 if reply.hangs else reply.seconds)
        if reply.breaks is not None:
            raise reply.breaks()
        counts = reply is not self._server.odd and body is not None
        return _Begun(reply.status, CIMultiDict(reply.headers), _Stream(reply.content), counts)

    def let_go(self, begun: "_Begun") -> None:
        """It was read to its end."""
        self._server.answered += begun.counts

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class _Begun:
    status: int
    headers: CIMultiDict[str]
    content: "_Stream"
    counts: bool

    @property
    def connection(self) -> "_Begun":
        """Which is nothing but this."""
        return self

    def close(self) -> None:
        """It was not read to its end."""


class _Stream:
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def readany(self) -> bytes:
        piece, self._content = self._content[:65_536], self._content[65_536:]
        return piece

    def at_eof(self) -> bool:
        return not self._content


@contextlib.contextmanager
def simulated(server: Server | None) -> Iterator[None]:
    """Every exchange in here is with the server; with none, asking is a fault."""

    def opened(self: HttpExchange, call: object) -> _Connections:
        assert server is not None, "nothing was to be asked"
        self._connections = _Connections(server)  # type: ignore[assignment]
        return self._connections  # type: ignore[return-value]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HttpExchange, "_open", opened)
        yield


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """Commands start in this folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
