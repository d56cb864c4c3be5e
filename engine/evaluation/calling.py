"""A user's code at work on one example: what it asks is asked as the run asks, and what goes wrong is told apart."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from metaspo.backends import Completion, Message, Request, RequestRejected, Usage, read_message
from metaspo.backends.counted import counted
from metaspo.engine.config.models import Model
from metaspo.engine.evaluation.call_options import with_options
from metaspo.engine.prompts import Roles, merged
from metaspo.engine.runtime.priorities import beside_others
from metaspo.engine.tasks.programs import CallingCode, Messages, ProgramError
from metaspo.scheduling import Account, DrawCounter, Gateway, Priority

THREADS = 64  # functions without `async` at work at once, in each stage of a run


class NotStored(BaseException):
    """A call whose answer is not in the cache, where none may be made. No `Exception`: no code must catch it."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What a user's code raised."""

    reason: BaseException

    def __str__(self) -> str:
        return ": ".join(filter(None, (type(self.reason).__name__, str(self.reason))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom code asks, and as whom.

    Attributes:
        account: None for who only looks.
        priority: of its calls; None to make none, and only look in the cache.
    """

    model: Model
    gateway: Gateway
    roles: Roles
    account: Account | None
    priority: Priority | None


class CodeRun:
    """One example's run; used once."""

    def __init__(self, code: CallingCode, asked: Asked) -> None:
        self._usages: list[Usage] = []
        self._code = code
        self._asking = asked
        self._draws = DrawCounter()
        self._asked = 0
        self._hits: list[tuple[Request, Completion]] = []
        self._end: BaseException | None = None  # what no code may keep to itself
        self._over = False
        self._task: asyncio.Task[Any] | None = None
        self._calling: set[asyncio.Task[Any]] = set()  # that wait for an answer

    @property
    def usage(self) -> Usage:
        """Of all its calls."""
        return Usage(*map(sum, zip(*self._usages, strict=True))) if self._usages else Usage(0, 0)

    async def returned(self, *arguments: object) -> object:
        """What the function returns, given these and its call; or `Raised`, or the server's refusal that it passes on.

        Raises, whatever the function does with that, what ends a run, `ProgramError`, and `NotStored` if no call may be
        made and the cache does not hold all that it takes.
        """
        returned: object = None
        try:
            returned = await self._run(arguments)
        except asyncio.CancelledError as reason:
            if self._task is None or self._task.cancelling():
                raise
            returned = Raised(reason)  # of a task of the code's own: nobody wants this one to end
        except (Exception, SystemExit) as reason:  # noqa: BLE001 - of a user's code: it is told
            returned = _refusal_in(reason) or Raised(reason)
        except BaseException:
            if self._end is None:
                raise
        finally:
            self._over = True
            for task in tuple(self._calling):
                task.cancel()
        if self._end is not None:
            raise self._end
        self._count_hits()
        return returned

    async def _run(self, arguments: Sequence[object]) -> object:
        self._task = asyncio.current_task()
        function = self._code.function
        if self._code.is_async:
            return await cast("Awaitable[object]", function(*arguments, self.call))
        return await anyio.to_thread.run_sync(
            partial(function, *arguments, self._call_from_thread),
            abandon_on_cancel=True,
            limiter=_limiter(self._asking.priority),
        )

    async def call(
        self,
        messages: Messages,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """See `Call`."""
        request = with_options(
            self._asking.model.request(self._messages(messages)),
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=stop,
            response_format=response_format,
            tools=tools,
            extra=extra,
        )
        return await self._answer(self._draws.take(request))

    def _messages(self, messages: Messages) -> tuple[Message, ...]:
        told = [Message("user", messages)] if isinstance(messages, str) else messages
        if not told:
            raise ValueError("there is no message: give a text, or one message at least")
        read = tuple([message if isinstance(message, Message) else read_message(message) for message in told])
        return merged(read) if self._asking.roles == "merged" else read

    async def _answer(self, request: Request) -> Completion:
        code, asking = self._code, self._asking
        if self._end is not None:
            raise self._end
        if self._over:
            raise RuntimeError(f"{code.what} {code.name!r} calls after it has answered, or was given up")
        self._asked += 1
        task = asyncio.current_task()
        assert task is not None
        self._calling.add(task)
        try:
            if self._asked > code.max_calls:
                raise ProgramError(
                    f"{code.what} {code.name!r} makes more than {counted(code.max_calls, 'call')} for one example: "
                    f"raise the task's {code.key}"
                )
            if asking.priority is None:
                completion = await self._look_up(request)
            else:
                priority = beside_others(asking.priority, asking.model.turn)
                answer = await asking.gateway.answer(
                    request, lane=asking.model.lane, account=asking.account, priority=priority
                )
                completion = answer.completion
        except (RequestRejected, asyncio.CancelledError):
            raise
        except BaseException as reason:
            self._end = self._end or reason
            raise
        finally:
            self._calling.discard(task)
        self._usages.append(completion.usage)
        return completion

    async def _look_up(self, request: Request) -> Completion:
        stored = await self._asking.gateway.lookup_many([request])
        if 0 not in stored:
            raise NotStored
        self._hits.append((request, stored[0]))
        return stored[0]

    def _count_hits(self) -> None:
        """Once it is known that the cache has them all: else the same are asked for again, and counted then."""
        asking = self._asking
        if self._hits and asking.account is not None:
            asking.gateway.count_hits(self._hits, lane=asking.model.lane, account=asking.account)

    def _call_from_thread(self, messages: Messages, **options: Any) -> Completion:  # noqa: ANN401 - those of `call`
        return anyio.from_thread.run(partial(self.call, messages, **options))


def _refusal_in(reason: BaseException) -> RequestRejected | None:
    """The server's refusal that code passes on, also out of a group of tasks."""
    if isinstance(reason, BaseExceptionGroup):
        return next(filter(None, map(_refusal_in, reason.exceptions)), None)
    return reason if isinstance(reason, RequestRejected) else None


_LIMITERS: anyio.lowlevel.RunVar[dict[object, anyio.CapacityLimiter]] = anyio.lowlevel.RunVar("metaspo_threads")


def _limiter(priority: Priority | None) -> anyio.CapacityLimiter:
    """One for the code of a stage in an event loop: what can wait takes no thread of what is waited for."""
    try:
        limiters = _LIMITERS.get()
    except LookupError:
        limiters = {}
        _LIMITERS.set(limiters)
    return limiters.setdefault(priority[:1] if priority else None, anyio.CapacityLimiter(THREADS))
