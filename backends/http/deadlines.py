"""Time limits of many calls at once, with one timer for all of them.

A timer for each call, as `asyncio.timeout` and aiohttp set one, costs a tenth of a whole call; nearly all are cancelled
long before they are due.
"""

import asyncio
import math
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

STOOD_STILL, READ_FIRST = 0.1, 0.5
"""Seconds by which a timer is late after its process stood still (Ctrl-Z, a virtual machine that is paused, a long
import), and seconds for reading what came meanwhile, before anything is given up that may be answered by now. Once: a
process that is always late gives up as well."""


class Deadlines(Generic[K]):
    """Calls `passed` with whatever is still here at its deadline. For use within one event loop."""

    __slots__ = ("_due", "_passed", "_timer")

    def __init__(self, passed: Callable[[K], None]) -> None:
        self._passed = passed
        self._due: dict[K, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __repr__(self) -> str:
        return f"<Deadlines open={len(self._due)}>"

    def add(self, item: K, when: float) -> None:
        """Expect `discard` before `when`, on the clock of the running loop."""
        self._due[item] = when
        if self._timer is None or when < self._timer.when():
            self._set_timer(when)

    def discard(self, item: K) -> None:
        """It is over; nothing happens if it was before."""
        self._due.pop(item, None)

    def close(self) -> None:
        """Forget everything."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, when: float, *, has_read: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._look, when, has_read)

    def _look(self, when: float, has_read: bool = False) -> None:
        """All that is due goes; the timer is set to the first of the rest, if there is any."""
        self._timer = None
        now = max(when, asyncio.get_running_loop().time())
        if now > when + STOOD_STILL and not has_read:
            self._set_timer(now + READ_FIRST, has_read=True)
            return
        for item in [item for item, due in self._due.items() if due <= now]:
            del self._due[item]
            self._passed(item)
        following = min(self._due.values(), default=math.inf)
        if following < math.inf and self._timer is None:
            self._set_timer(following)


class TimeLimit:
    """A context that raises `TimeoutError` if it lasts for too long; as `asyncio.timeout`, but for many calls."""

    __slots__ = ("_cancelled_before", "_deadlines", "_expired", "_seconds", "_task")

    def __init__(self, seconds: float, deadlines: "Deadlines[TimeLimit]") -> None:
        """`deadlines` must have been made with `TimeLimit.expire`."""
        self._seconds = seconds
        self._deadlines = deadlines
        self._expired = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._deadlines.add(self, loop.time() + self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        # Somebody else may have cancelled the task, too: then it stays cancelled.
        if self._expired and self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """The time is over."""
        self._expired = True
        self._task.cancel()
