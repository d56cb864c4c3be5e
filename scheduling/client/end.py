"""How a client ends: closed, dropped, with the interpreter, or never, in a fork of the process that made it."""

import asyncio
import atexit
import ctypes
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol

from metaspo.scheduling.client.failures import CallFailed
from metaspo.scheduling.client.loop_thread import LoopThread

_open: "weakref.WeakSet[Closable]" = weakref.WeakSet()


class Closable(Protocol):
    """A client, as far as its end goes."""

    def close(self) -> None:
        """Idempotent."""
        ...


def _leave_to_parent() -> None:
    """In a fork: what is open in the parent is never freed here, or else its connections, which are the parent's to
    close, would say at the end that nobody has closed them."""
    for client in tuple(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


async def end_left(thread: LoopThread) -> None:
    """The gateway is closed: whoever waits for it is told so."""
    thread.take_over()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*left, return_exceptions=True)


async def shut(opened: AsyncExitStack) -> None:
    """Close what was opened, and the threads that answers were kept in."""
    try:
        await opened.aclose()
    finally:
        await asyncio.get_running_loop().shutdown_default_executor()


def close_dropped(process: int, thread: LoopThread, opened: AsyncExitStack) -> None:
    """Of a client that nobody has any more; in whatever thread that was seen, so that nothing is waited for."""
    if process == os.getpid():
        thread.stop_after(partial(shut, opened))
        warnings.warn("A metaspo Client was dropped and not closed: use it in a `with`.", ResourceWarning, stacklevel=1)


def close_at_exit(client: Closable, thread: LoopThread) -> None:
    """Before the interpreter's own pools of threads are shut, which keep answers: `atexit` comes too late. Raises
    `CallFailed` where that was already."""
    _open.add(client)
    register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
    reference, process, running = weakref.ref(client), os.getpid(), weakref.ref(thread)  # itself, as long as it runs

    def close() -> None:
        if (left := reference()) is not None:
            left.close()
        elif (ending := running()) is not None and process == os.getpid():
            ending.join()

    try:
        register(close)
    except RuntimeError as late:
        raise CallFailed("No client can be made any more: the interpreter is ending.", kind="closed") from late
