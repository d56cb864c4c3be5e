"""The virtual clock: jumps where it may, waits where it must, and calls a standstill by its name."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Awaitable

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends.loops import virtual_time
from metaspo.backends.loops.virtual_time import TASKS_SHOWN, Deadlock, VirtualTimeLoop, real_wait, run_virtual


def test_a_day_of_sleep_takes_no_time() -> None:
    """The clock starts at 0 and moves by exactly what was slept."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        for seconds in (1.5, 86_400.0, 3e6):
            await anyio.sleep(seconds)
            times.append(loop.time())
        return times

    began = time.monotonic()
    assert run_virtual(main()) == pytest.approx([0.0, 1.5, 86_401.5, 3_086_401.5])
    assert time.monotonic() - began < 5


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e7), max_size=30))
def test_sleepers_wake_in_the_order_of_their_times(delays: list[float]) -> None:
    """Timers fire in order, at or after their time, whatever the delays."""
    woken: list[tuple[float, float]] = []

    async def sleeper(delay: float) -> None:
        await asyncio.sleep(delay)
        woken.append((delay, asyncio.get_running_loop().time()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for delay in delays:
                group.create_task(sleeper(delay))

    run_virtual(main())
    assert [delay for delay, _ in woken] == sorted(delays)
    assert all(at == pytest.approx(delay, abs=1e-8) for delay, at in woken)


def test_time_limits_work() -> None:
    """anyio's cancel scopes see the virtual clock."""

    async def main() -> tuple[bool, float]:
        with anyio.move_on_after(7) as context:
            await anyio.sleep_forever()
        return context.cancelled_caught, asyncio.get_running_loop().time()

    assert run_virtual(main()) == (True, 7.0)


@pytest.mark.parametrize("kinds", [("anyio",), ("executor",), ("anyio", "executor")])
def test_the_clock_stands_while_a_thread_is_out(kinds: tuple[str, ...]) -> None:
    """A timer does not overtake worker threads that still work in real time, whoever has started them."""

    def work() -> str:
        time.sleep(0.05)
        return "done"

    async def main() -> tuple[list[str], float]:
        loop = asyncio.get_running_loop()

        def start(kind: str) -> Awaitable[str]:
            return anyio.to_thread.run_sync(work) if kind == "anyio" else loop.run_in_executor(None, work)

        with anyio.fail_after(10):
            results = await asyncio.gather(*(start(kind) for kind in kinds))
        at = loop.time()
        await anyio.sleep(1000)  # idle threads do not hold the clock
        return results, at

    assert run_virtual(main()) == (["done"] * len(kinds), 0.0)


def test_a_thread_that_is_still_at_work_when_the_program_ends_is_waited_for() -> None:
    """What it writes is written when the loop is gone."""
    begun, goes_on, done = threading.Event(), threading.Event(), list[bool]()

    def work() -> None:
        begun.set()
        goes_on.wait()
        time.sleep(0.01)
        done.append(True)

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work).cancel()
        begun.wait()
        goes_on.set()

    run_virtual(main())
    assert done


def test_a_standstill_is_a_deadlock_that_names_the_waiters() -> None:
    """Nothing to do and nothing to wait for raises, and says where each task stands."""

    async def wait_for_nobody() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        await asyncio.create_task(wait_for_nobody(), name="lonely")

    with pytest.raises(Deadlock, match=r"lonely: .*wait_for_nobody"):
        run_virtual(main())


def test_a_deadlock_says_when_and_where_each_task_waits_outermost_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line of each coroutine on the way; of many tasks the first by name, and how many more there are."""

    monkeypatch.setattr(virtual_time, "STANDSTILL_WAIT", 0.0)

    async def inner() -> None:
        await asyncio.get_running_loop().create_future()

    async def outer() -> None:
        await inner()

    async def main(count: int) -> None:
        await asyncio.sleep(7)
        await asyncio.gather(*(asyncio.create_task(outer(), name=f"t{number:02}") for number in range(count)))

    for count in (2, TASKS_SHOWN - 1, TASKS_SHOWN + 4):
        with pytest.raises(Deadlock) as caught:
            run_virtual(main(count))
        first, *lines = str(caught.value).splitlines()
        assert first == f"at 7 virtual seconds nothing is left that could wake {count + 1} tasks:"
        waiting = [line for line in lines if re.fullmatch(r"  t\d\d: .*outer:\d+ > .*inner:\d+", line)]
        more = count + 1 - TASKS_SHOWN
        assert lines[-1] == f"  and {more} more" if more > 0 else "more" not in lines[-1]
        assert len(lines) == (TASKS_SHOWN + 1 if more > 0 else count + 1)
        assert len(waiting) >= len(lines) - 2


def test_a_call_from_a_foreign_thread_still_wakes_the_loop() -> None:
    """A thread that the loop does not know of gets a moment of real time before a deadlock is called."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        timer = threading.Timer(0.05, lambda: loop.call_soon_threadsafe(future.set_result, 5))
        timer.start()
        result = await future
        timer.join()
        return result

    assert run_virtual(main()) == 5


def test_a_socket_is_heard_while_something_else_is_ready_all_the_time() -> None:
    async def main() -> list[bytes]:
        heard: list[bytes] = []
        ours, theirs = socket.socketpair()
        with ours, theirs:
            asyncio.get_running_loop().add_reader(ours, lambda: heard.append(ours.recv(9)))
            theirs.send(b"here")
            for _ in range(3):
                await asyncio.sleep(0)
            asyncio.get_running_loop().remove_reader(ours)
        return heard

    assert run_virtual(main()) == [b"here"]


def test_real_sockets_work_beside_virtual_timers() -> None:
    """A loopback exchange completes although a timer far away is pending all the while."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            with anyio.fail_after(3600):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(b"hello\n")
                answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return answer

    assert run_virtual(main()) == b"hello\n"


def test_jump_always_moves() -> None:
    """However late it is, a jump is never lost in rounding."""
    loop = VirtualTimeLoop()
    try:
        loop.jump(1e15)
        before = loop.time()
        loop.jump(1e-12)
        assert loop.time() > before
    finally:
        loop.close()


def test_how_long_a_standstill_waits_in_real_time() -> None:
    """Threads are always waited for; sockets hold a timer only for a moment; a bare timer is jumped to at once."""
    assert real_wait(threads=0, sockets=False, timer=True) == 0
    assert 0 < real_wait(threads=0, sockets=True, timer=True) < 0.1
    assert real_wait(threads=1, sockets=False, timer=True) > 1
    assert real_wait(threads=0, sockets=False, timer=False) > 0
