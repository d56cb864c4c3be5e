"""Sessions of one run on virtual time: undisturbed, cancelled, started again over the same store."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from _pytest.mark import ParameterSet
from world import World

from metaspo.backends import Request, Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.engine import Observer, Prepared, RunConfig, RunResult
from metaspo.engine.config.wording import CountTokens
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.runs.session import make_context
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.tasks import Task
from metaspo.scheduling import Gateway, Lane, LaneSettings

T = TypeVar("T")
LANES = ("base", "optimizer", "judge")


def whole_but_own(cases: Sequence[str | tuple[object, ...]]) -> list[ParameterSet]:
    """Strategies to parametrize with, of which `make check` leaves out those that are not MetaSPO's own.

    Of these, the default tests take one loop each where both are given, of the one the inner loop and of the next the
    outer one.
    """
    own = {"metaspo", "embedded"}
    values = [(case,) if isinstance(case, str) else case for case in cases]
    names = sorted({str(name) for name, *_ in values})

    def marks(name: object, *loop: object) -> list[pytest.MarkDecorator]:
        if own & {name, *loop}:
            return []
        other = ("outer", "inner")[names.index(str(name)) % 2]
        both = {(name, "inner"), (name, "outer")} <= {*values}
        return [pytest.mark.whole, *([pytest.mark.slow] if both and loop == (other,) else [])]

    return [pytest.param(*each, marks=marks(*each)) for each in values]


class Runs:
    """Sessions of one run over one store: undisturbed, or cancelled after so many virtual seconds."""

    def __init__(
        self,
        config: RunConfig,
        tasks: Sequence[Task],
        world: World,
        *,
        timing: int,
        width: int,
        observer: Observer | None = None,
        latency: float = 1.0,
        count_tokens: CountTokens | None = None,
    ) -> None:
        """`latency`: mean seconds of a call, virtual ones as long as `do` is not another."""
        self.count_tokens = count_tokens
        self.latency = latency
        self.prepared = Prepared(config=config, tasks=tuple(tasks), folder=Path())
        self.world, self.timing, self.width = world, timing, width
        self.observer = observer or Observer()
        self.store, self.journal = MemoryStore(), MemoryJournal()
        self.answered: list[Request] = []

    def session(self, *, stop_after: float | None = None) -> RunResult | None:
        """One process's worth of the run; None if it was cancelled."""
        return self.do(run, stop_after=stop_after)

    def do(self, what: Callable[[RunContext], Coroutine[Any, Any, T]], *, stop_after: float | None = None) -> T | None:
        """One process's worth of something else within the run's scope; None if it was cancelled."""
        self.timing += 1
        return run_virtual(self._session(what, stop_after))

    async def _session(
        self, what: Callable[[RunContext], Coroutine[Any, Any, T]], stop_after: float | None
    ) -> T | None:
        backends = [
            Simulated(self._answer, latency=lambda _, rng: rng.expovariate(1 / self.latency), seed=self.timing)
            for _ in LANES
        ]
        lanes = [
            Lane(name, [backend], LaneSettings(concurrency=self.width))
            for name, backend in zip(LANES, backends, strict=True)
        ]
        async with Gateway(lanes, store=self.store) as gateway:
            context = make_context(
                self.prepared, gateway, LaneNames(), journal=self.journal, observer=self.observer, name="test"
            )
            try:
                async with asyncio.timeout(stop_after):
                    return await what(replace(context, count_tokens=self.count_tokens))
            except TimeoutError:
                return None

    def _answer(self, request: Request) -> str:
        self.answered.append(request)
        return self.world.answer(request)
