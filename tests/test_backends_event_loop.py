"""Commands and clients run on uvloop where it is installed, and on asyncio's own loop where it is not."""

import asyncio
import os
import signal
import socket
import sys

import pytest

from metaspo.console import HurriedInterrupt
from metaspo.engine.gather import gather
from metaspo.engine.runs.time_cap import TimeCap
from metaspo.running import run_async


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_a_command_runs_on_uvloop_where_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    assert isinstance(run_async(_running_loop()), uvloop.Loop)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_loop_s_end_is_handled_as_before_it(number: signal.Signals) -> None:
    """Else a Ctrl-C while the result is written would be passed over."""
    before = signal.getsignal(number)
    run_async(_running_loop())
    assert signal.getsignal(number) == before


def test_names_are_looked_up_on_uvloop_as_on_asyncios_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address and a port by number in no thread; a name, and what nobody knows, as asyncio does."""
    pytest.importorskip("uvloop")

    async def found() -> list[object]:
        loop, tcp = asyncio.get_running_loop(), socket.SOCK_STREAM
        asked: list[tuple[str, str | int]] = [
            ("127.0.0.1", 80),
            ("::1", "80"),
            ("localhost", 80),
            ("127.0.0.1", "no-such-port"),
        ]
        every = (loop.getaddrinfo(host, port, type=tcp) for host, port in asked)
        told = await asyncio.gather(*every, return_exceptions=True)
        return [type(each) if isinstance(each, BaseException) else each for each in told]

    ours = run_async(found())
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert ours == run_async(found())


def test_a_command_runs_on_asyncios_loop_where_uvloop_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as where it cannot be imported
    assert type(run_async(_running_loop())).__module__.startswith("asyncio")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("uvloop", [True, False])
@pytest.mark.parametrize("first", ["SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("second", ["SIGTERM", "SIGHUP"])
def test_a_second_signal_to_end_does_not_cut_off_what_the_first_one_began(
    monkeypatch: pytest.MonkeyPatch, first: str, second: str, *, uvloop: bool
) -> None:
    _choose_loop(monkeypatch, uvloop=uvloop)
    assert run_async(_cancelled_by(first, then=second)) == "drained"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("uvloop", [True, False])
@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_a_ctrl_c_after_the_first_signal_is_immediate(
    monkeypatch: pytest.MonkeyPatch, first: str, *, uvloop: bool
) -> None:
    _choose_loop(monkeypatch, uvloop=uvloop)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(HurriedInterrupt):
            run_async(_cancelled_by(first, then="SIGINT"))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("uvloop", [True, False])
def test_ctrl_c_is_heard_while_a_cap_on_time_ends_code_that_catches_it(
    monkeypatch: pytest.MonkeyPatch, *, uvloop: bool
) -> None:
    async def stubborn() -> None:
        with TimeCap.of(1e-9).kept():
            for _ in range(100):
                try:
                    await asyncio.sleep(1e8)
                except asyncio.CancelledError:
                    os.kill(os.getpid(), signal.SIGINT)

    _choose_loop(monkeypatch, uvloop=uvloop)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(HurriedInterrupt):
            run_async(stubborn())
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("uvloop", [True, False])
@pytest.mark.parametrize("deep", [0, 1, 3])
def test_a_ctrl_c_that_hits_a_task_whose_end_others_wait_for_is_immediate_all_the_same(
    monkeypatch: pytest.MonkeyPatch, deep: int, *, uvloop: bool
) -> None:
    """It goes up through all that wait for one another, and what stands beside them gets to its end."""
    ended = []

    async def hit(deep: int) -> None:
        if not deep:
            raise KeyboardInterrupt
        await gather([hit(deep - 1)])

    async def beside() -> None:
        try:
            await asyncio.sleep(1e8)
        finally:
            ended.append("beside")

    async def main() -> None:
        await gather([beside(), hit(deep)])

    _choose_loop(monkeypatch, uvloop=uvloop)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(HurriedInterrupt):
            run_async(main())
        assert ended == ["beside"]
    finally:
        signal.signal(signal.SIGINT, before)


def _choose_loop(monkeypatch: pytest.MonkeyPatch, *, uvloop: bool) -> None:
    if uvloop:
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)


async def _cancelled_by(first: str, *, then: str) -> str:
    try:
        await _signalled(first)
    except asyncio.CancelledError:
        await _signalled(then)
        return "drained"
    return "not cancelled"


async def _signalled(name: str) -> None:
    os.kill(os.getpid(), signal.Signals[name])
    for _ in range(20):  # rounds of the loop, in which it hears of the signal
        await asyncio.sleep(0)
