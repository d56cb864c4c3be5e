"""An event loop in a thread of its own: who is interrupted, and what cannot be begun any more."""

import asyncio
import ctypes
import inspect
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack

import pytest

from metaspo.scheduling import CallFailed
from metaspo.scheduling.client import end
from metaspo.scheduling.client.end import close_at_exit, shut
from metaspo.scheduling.client.loop_thread import LoopThread, wait_for


class Interrupted(Future[int]):
    """Whose waiter meets Ctrl-C."""

    def result(self, timeout: float | None = None) -> int:
        raise KeyboardInterrupt


def test_who_is_interrupted_as_he_waits_has_the_work_ended() -> None:
    future = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        wait_for(future)
    assert future.cancelled()


class Open:
    """Something to be closed."""

    def __init__(self, did: list[str]) -> None:
        self._did = did

    def close(self) -> None:
        """It has nothing open."""
        self._did.append("closed")


class Watched(LoopThread):
    """Says who waits for its end."""

    def __init__(self, did: list[str]) -> None:
        super().__init__("ends at once")
        self._did = did

    def join(self) -> None:
        """As any."""
        self._did.append("waited for")


@pytest.mark.parametrize(
    ("dropped", "forked", "does"),
    [(False, False, ["closed"]), (True, False, ["waited for"]), (True, True, [])],
    ids=["open", "dropped and closing still", "of the parent"],
)
def test_as_the_interpreter_ends_what_is_open_is_closed_and_what_is_closing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, dropped: bool, forked: bool, does: list[str]
) -> None:
    """Else answers that are paid for and not yet kept would be lost. In a fork there is no such thread."""
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(threading, "_register_atexit", at_exit.append)
    did: list[str] = []
    thread, client = Watched(did), Open(did)
    close_at_exit(client, thread)
    if dropped:
        del client
    if forked:
        monkeypatch.setattr(os, "getpid", lambda: -1)
    at_exit.pop()()
    assert did == does
    thread.stop()


def test_a_client_that_is_made_as_the_interpreter_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(_: object) -> None:
        raise RuntimeError("can't register atexit after shutdown")

    monkeypatch.setattr(threading, "_register_atexit", too_late)
    thread = LoopThread("ends at once")
    with pytest.raises(CallFailed, match="the interpreter is ending"):
        close_at_exit(Open([]), thread)
    thread.stop()


def test_what_is_open_in_the_parent_is_never_freed_in_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are the parent's to close."""
    opened: weakref.WeakSet[Open] = weakref.WeakSet()
    monkeypatch.setattr(end, "_open", opened)
    client = Open([])
    opened.add(client)
    end._leave_to_parent()
    del client
    assert len(opened) == 1
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(opened.pop()))


def test_what_is_handed_over_after_the_end_is_told_so_and_never_begins() -> None:
    """Nor does anybody warn that it was not awaited."""
    began: list[str] = []

    async def work() -> None:
        began.append("work")

    thread = LoopThread("has ended")
    thread.stop()
    late = work()
    with pytest.raises(CallFailed, match="closed"):
        thread.hand_over(late).result(timeout=10)
    assert (inspect.getcoroutinestate(late), began) == (inspect.CORO_CLOSED, [])


async def test_the_threads_that_answers_were_kept_in_end_with_what_was_open() -> None:
    keeping: list[threading.Thread] = []
    await asyncio.to_thread(lambda: keeping.append(threading.current_thread()))
    await shut(AsyncExitStack())
    assert [thread.is_alive() for thread in keeping] == [False]
