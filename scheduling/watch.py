"""Looks after a lane's endpoints: starts cold ones, probes those at rest, reads the gauges of those that have any."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from metaspo.backends import BackendError, FatalError, RequestRejected, Startable, TransientError, Unreachable
from metaspo.scheduling.concurrency import ConcurrencyControl
from metaspo.scheduling.endpoints import Endpoint, Endpoints, Health

PROBE_LIMIT = 10.0  # seconds
LOAD_PERIOD = 2.0  # seconds between two looks at the gauges


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchHooks:
    """What the watch asks of its lane and tells it.

    Attributes:
        has_work: whether anything waits or is in flight; without work nothing is probed or read.
        ready: an endpoint was started, or a rested one answered a probe and may be tried.
        rested: an endpoint was rested for so many seconds.
        gone: nobody listens at an endpoint's address any more.
        fatal: a start or a probe found what only a person can mend.
        broken: a start failed in a way that no backend should.
    """

    has_work: Callable[[], bool]
    ready: Callable[[Endpoint], None]
    rested: Callable[[Endpoint, float, BackendError], None]
    gone: Callable[[Endpoint], None]
    fatal: Callable[[FatalError], None]
    broken: Callable[[BaseException], None]


class EndpointWatch:
    """Owns the timers and the short tasks that look at endpoints; `cancel` ends them all."""

    def __init__(self, endpoints: Endpoints, control: ConcurrencyControl, hooks: WatchHooks) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoints = endpoints
        self._control = control
        self._hooks = hooks
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = False
        self._has_gauges = True
        self._preemptions: dict[Endpoint, float] = {}

    def rest(self, endpoint: Endpoint, error: BackendError) -> None:
        """Send nothing to an endpoint until it answers a probe. One that is down already stays as it is."""
        if endpoint.health is Health.DOWN:
            return
        self._rest(endpoint, error)

    def work_came(self) -> None:
        """Start what is cold, and go on with what was left while there was no work."""
        for endpoint in self._endpoints.all:
            if endpoint.health is Health.COLD and not endpoint.starting:
                self._start(endpoint)
            if endpoint.health is Health.DOWN and not endpoint.probing:
                self._probe_soon(endpoint)
        if self._has_gauges and not self._reading:
            self._reading = True
            self._later(LOAD_PERIOD, lambda: self._spawn(self._read_gauges()))

    async def cancel(self) -> None:
        """End everything that is under way."""
        for timer in self._timers:
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, endpoint: Endpoint) -> None:
        """No clock runs meanwhile: neither a call's time limit nor the lane's patience."""
        assert isinstance(endpoint.backend, Startable)
        endpoint.starting = True
        self._spawn(endpoint.backend.start()).add_done_callback(partial(self._started, endpoint))

    def _started(self, endpoint: Endpoint, task: "asyncio.Task[None]") -> None:
        endpoint.starting = False
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            endpoint.health = Health.UP
            self._hooks.ready(endpoint)
        elif isinstance(error, FatalError):
            self._hooks.fatal(error)
        elif isinstance(error, BackendError):
            self._rest(endpoint, error)
        else:
            self._hooks.broken(error)

    def _rest(self, endpoint: Endpoint, error: BackendError) -> None:
        wait = endpoint.rest()
        endpoint.probing = True
        self._hooks.rested(endpoint, wait, error)
        self._later(wait, lambda: self._probe_soon(endpoint))

    def _probe_soon(self, endpoint: Endpoint) -> None:
        endpoint.probing = endpoint.health is Health.DOWN and self._hooks.has_work()
        if endpoint.probing:
            self._spawn(self._probe(endpoint))

    async def _probe(self, endpoint: Endpoint) -> None:
        try:
            async with asyncio.timeout(PROBE_LIMIT):
                await endpoint.backend.probe()
        except TimeoutError:
            self._rest(endpoint, TransientError(f"{endpoint.backend.name} did not answer a probe."))
        except TransientError as error:
            if isinstance(error, Unreachable) and error.refused:
                self._hooks.gone(endpoint)
            self._rest(endpoint, error)
        except FatalError as error:
            endpoint.probing = False
            self._hooks.fatal(error)
        except RequestRejected:
            self._recover(endpoint)  # it answers, which is all that was asked
        else:
            self._recover(endpoint)

    def _recover(self, endpoint: Endpoint) -> None:
        endpoint.probing = False
        if endpoint.health is Health.DOWN:  # else a call that was out has shown meanwhile that it works
            endpoint.try_again()
        self._hooks.ready(endpoint)

    async def _read_gauges(self) -> None:
        running = waiting = preempted = 0.0
        seen = False
        for endpoint in self._endpoints.all:
            if endpoint.health is not Health.UP:
                seen = seen or endpoint.health is Health.COLD  # it may have some once it is started
                continue
            try:
                gauges = await endpoint.backend.load()
            except BackendError:
                seen = True  # not now, but perhaps the next time
                continue
            if not gauges:
                continue
            seen = True
            running += gauges.get("running", 0.0)
            waiting += gauges.get("waiting", 0.0)
            total = gauges.get("preemptions", 0.0)
            preempted += max(0.0, total - self._preemptions.get(endpoint, total))
            self._preemptions[endpoint] = total
        self._has_gauges = seen
        self._reading = seen and self._hooks.has_work()
        if seen:
            self._control.on_load(self._loop.time(), running=running, waiting=waiting, preempted=preempted)
        if self._reading:
            self._later(LOAD_PERIOD, lambda: self._spawn(self._read_gauges()))

    def _later(self, seconds: float, then: Callable[[], object]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            then()

        timer = self._loop.call_later(seconds, fire)
        self._timers.add(timer)

    def _spawn(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
