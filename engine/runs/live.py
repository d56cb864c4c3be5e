"""How far a session is, written once a second at most, for those who watch it: nothing follows from it.

It stands beside the journal and not in it: the journal must not depend on timing.
"""

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from math import inf
from typing import Any

from metaspo.engine.runs.directory import RunDirectory, write_json
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.runtime.time_left import TimeLeft
from metaspo.scheduling import Account, AccountStatistics, Event, Gateway, HeldBack, RunStopped

EVERY = 1.0  # seconds
LAST_WARNINGS = 5


class LiveObserver(Observer):
    """Tells another observer everything, and keeps `live.json` up to date when something happens."""

    def __init__(self, told: Observer, directory: RunDirectory, gateway: Gateway, account: Account) -> None:
        self._told = told
        self._directory = directory
        self._gateway = gateway
        self._account = account
        self._clock = asyncio.get_running_loop().time
        self._written = self._counted = self._clock() - EVERY
        self._tokens: dict[str, int] = {}
        self._speeds: dict[str, float] = {}
        self._refused: dict[str, int] = {}
        self._left = TimeLeft()
        self._stage = ""
        self._asked = 0
        self._warnings: list[str] = []
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as where a script began it in the background
        stopped_by = signal.SIGTERM if ignored else signal.SIGINT
        self._process = {"pid": os.getpid(), "host": socket.gethostname(), "stopped_by": stopped_by.name}

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self._left.begin(base_calls, optimizer_calls, now=self._clock())
        self._told.planned(base_calls=base_calls, optimizer_calls=optimizer_calls)
        self.write()

    def stops_in(self, seconds: float) -> None:
        self._left.stops = self._clock() + seconds
        self._told.stops_in(seconds)

    def stage(self, name: str) -> None:
        self._stage = name
        self._told.stage(name)
        self.write()

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        now = self._clock()
        self._left.settle(base_calls, optimizer_calls, now=now)
        self._told.calls_done(base_calls=base_calls, optimizer_calls=optimizer_calls)
        if now - self._written >= EVERY:
            self.write()

    def found(self, calls: int) -> None:
        self._left.found = calls
        self._told.found(calls)

    def new_best(self, *, score: float, address: str) -> None:
        self._told.new_best(score=score, address=address)

    def spent(self, *, dollars: float, unpriced: int, left: float | None) -> None:
        self._told.spent(dollars=dollars, unpriced=unpriced, left=left)

    def optimizer_asked(self) -> None:
        self._asked += 1
        self._told.optimizer_asked()
        if self._clock() - self._written >= EVERY:
            self.write()

    def optimizer_answered(self) -> None:
        self._asked -= 1
        self._told.optimizer_answered()

    def lane(self, event: Event) -> None:
        if isinstance(event, HeldBack):
            self._refused[event.lane] = self._refused.get(event.lane, 0) + 1
        self._told.lane(event)

    def warn(self, text: str) -> None:
        self._warnings = [*self._warnings, text][-LAST_WARNINGS:]
        self._told.warn(text)

    def finished(self) -> None:
        self._left.settled = self._left.planned
        self._told.finished()

    def write(self) -> None:
        """Write how far it is now."""
        self._written = now = self._clock()
        use = self._account.statistics()
        purse, total = self._account.purse, use.total
        cap = purse.budget.dollars
        left = None if cap is None else max(0.0, cap - purse.spent.dollars)
        self.spent(dollars=total.dollars, unpriced=total.unpriced, left=left)
        seconds = self._left.seconds(now=now)
        data = {
            "wall": round(time.time(), 3),
            **self._process,
            "stage": self._stage,
            "planned": self._left.planned,
            "settled": self._left.settled,
            "stops_in": round(self._left.stops - now, 1) if self._left.stops < inf else None,
            "seconds_left": seconds and [round(end, 1) for end in seconds],
            "optimizer_asked": self._asked,
            "warnings": self._warnings,
            "lanes": self._lanes(use, now),
        }
        with suppress(RunStopped):  # a run goes on, watched or not
            write_json(self._directory.live, data)

    def _lanes(self, usage: AccountStatistics, now: float) -> dict[str, Any]:
        uses = usage.lanes
        since, self._counted = now - self._counted, now
        lanes = {}
        for name, lane in self._gateway.statistics().lanes.items():
            use = uses.get(name)
            tokens = use.completion_tokens if use else 0
            if since > 0:
                self._speeds[name] = (tokens - self._tokens.get(name, 0)) / since
            self._tokens[name] = tokens
            refused = self._refused.get(name, 0)
            lanes[name] = {**asdict(lane), "tokens_per_second": round(self._speeds[name], 1), "refused": refused}
        return lanes
