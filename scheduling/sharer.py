"""A gateway's dealings with what it shares with other processes: rates of limits for its lanes, caps for its purses.

One task, which runs while something is asked for or held. It only carries: what is asked for is decided by `Allowance`
and `Pool`, what is granted by the server they share. Where that cannot be asked, whoever waits for it is told why.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from math import inf

from metaspo.cache import StoreError
from metaspo.cache.sharing import Drawn, RateAsk, Sharing
from metaspo.scheduling.allowance import Allowance, Rate, Wanted
from metaspo.scheduling.lane_state import LaneState


class Sharer:
    """Of one gateway."""

    def __init__(self, sharing: Sharing, lanes: Iterable[LaneState]) -> None:
        self._sharing = sharing
        self._lanes = [(lane, lane.allowance) for lane in lanes if lane.allowance is not None]
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        for _, allowance in self._lanes:
            allowance.driven_by(self._wake)

    def __repr__(self) -> str:
        return f"<Sharer {[allowance for _, allowance in self._lanes]}>"

    async def aclose(self) -> None:
        """Give back what is left, if that can be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(StoreError):
            for _, allowance in self._lanes:
                allowance.give_all_back()
                if (wanted := allowance.asked(_now())) is not None:
                    await self._sharing.take(_ask(allowance, wanted))

    def _wake(self) -> None:
        self._news.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="shared limits")

    async def _work(self) -> None:
        try:
            while True:
                self._news.clear()
                for lane, allowance in self._lanes:
                    await self._serve(lane, allowance)
                due = min((allowance.expires_at() for _, allowance in self._lanes), default=inf)
                if due == inf and not self._news.is_set():
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._news.wait()
        finally:
            self._task = None

    async def _serve(self, lane: LaneState, allowance: Allowance) -> None:
        wanted = allowance.asked(_now())
        if wanted is None:
            return
        try:
            granted = await self._sharing.take(_ask(allowance, wanted))
        except BaseException as error:  # also a mistake in a store, which must not leave anybody waiting for ever
            allowance.lost()
            lane.fail_waiting(error, _now())
            if not isinstance(error, StoreError):
                raise
            return
        allowance.granted(
            granted.wait, requests_sent=granted.requests_sent, tokens_sent=granted.tokens_sent, now=_now()
        )
        lane.allowed()


def _ask(allowance: Allowance, wanted: Wanted) -> RateAsk:
    requests, tokens = allowance.rates
    return RateAsk(
        allowance.group,
        _drawn(requests, wanted.requests + wanted.more_requests, wanted.requests - wanted.unsent_requests),
        _drawn(tokens, wanted.tokens + wanted.more_tokens, wanted.own_tokens - wanted.unsent_tokens),
        wanted.hold,
    )


def _drawn(rate: Rate, amount: float, sent: int) -> Drawn:
    return Drawn(rate.per_second, rate.burst, amount, sent)


def _now() -> float:
    return asyncio.get_running_loop().time()
