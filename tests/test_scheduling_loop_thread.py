"""An event loop in a thread of its own: who is interrupted, and what cannot be begun any more."""

import threading
from concurrent.futures import Future

import pytest

from metaspo.scheduling import CallFailed
from metaspo.scheduling.client_end import close_at_exit
from metaspo.scheduling.loop_thread import LoopThread, wait_for


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

    def close(self) -> None:
        """It has nothing open."""


def test_a_client_that_is_made_as_the_interpreter_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(_: object) -> None:
        raise RuntimeError("can't register atexit after shutdown")

    monkeypatch.setattr(threading, "_register_atexit", too_late)
    thread = LoopThread("ends at once")
    with pytest.raises(CallFailed, match="the interpreter is ending"):
        close_at_exit(Open(), thread)
    thread.stop()
