"""A gateway's dealings with what it shares with other processes: rates of limits for its lanes, caps for its purses.

One task, which runs while something is asked for or held. It only carries: what is asked for is decided by `Allowance`
and `Pool`, what is granted by the server they share. Where that cannot be asked, whoever waits for it is told why.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from math import isfinite

from metaspo.cache import StoreError
from metaspo.cache.sharing import Amounts, Drawn, RateAsk, Sharing
from metaspo.scheduling.budget.budget import Purse
from metaspo.scheduling.budget.pool import Pool
from metaspo.scheduling.lanes.lane_state import LaneState
from metaspo.scheduling.limits.allowance import Allowance, Rate, Wanted


class Sharer:
    """Carries between one gateway and the server that it shares limits and caps on."""

    def __init__(self, sharing: Sharing, lanes: Iterable[LaneState]) -> None:
        self._sharing = sharing
        self._lanes = tuple(lanes)
        self._purses: dict[Pool, Purse] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        for _, allowance in self._allowances():
            allowance.driven_by(self._wake)

    def __repr__(self) -> str:
        return f"<Sharer {[allowance for _, allowance in self._allowances()]} {list(self._purses)}>"

    def adopt(self, purse: Purse, pool: Pool) -> None:
        """Carry for a purse from now on."""
        if pool not in self._purses:
            self._purses[pool] = purse
            pool.driven_by(self._wake)

    async def aclose(self) -> None:
        """Give back what is left, if that can be."""
        self._closed = True
        if self._task is not None:
            self._news.set()
            await asyncio.wait([self._task])  # not cancelled: nobody would know what it had set aside
        with suppress(StoreError):
            for _, allowance in self._allowances():
                allowance.give_all_back()
                if (wanted := allowance.asked(_now())) is not None:
                    await self._sharing.take(_ask(allowance, wanted))
            for pool, purse in self._purses.items():
                await self._fill(pool, purse, last=True)

    def _allowances(self) -> list[tuple[LaneState, Allowance]]:
        return [(lane, lane.allowance) for lane in self._lanes if lane.allowance is not None]

    def _wake(self) -> None:
        self._news.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="shared limits and caps")

    async def _work(self) -> None:
        try:
            while not self._closed:
                self._news.clear()
                for lane, allowance in self._allowances():
                    await self._serve(lane, allowance)
                for pool, purse in tuple(self._purses.items()):
                    await self._fill(pool, purse)
                due = [allowance.expires_at() for _, allowance in self._allowances()]
                due += [pool.due for pool in self._purses]
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(filter(isfinite, due), default=None)):
                        await self._news.wait()
        except StoreError as error:
            for lane in self._lanes:
                lane.unanswered.fail_waiting(error, _now())
        except Exception as mistake:  # in here or in a store, which must not leave anybody waiting for ever
            for lane in self._lanes:
                lane.unanswered.fail_waiting(mistake, _now())
            raise
        finally:
            self._task = None
            for pool in self._purses:  # also those that were not asked for yet: it wakes nobody that they are short
                pool.lost()

    async def _serve(self, lane: LaneState, allowance: Allowance) -> None:
        wanted = allowance.asked(_now())
        if wanted is None:
            return
        try:
            granted = await self._sharing.take(_ask(allowance, wanted))
        except BaseException:
            allowance.lost()
            raise
        allowance.granted(
            granted.wait, requests_sent=granted.requests_sent, tokens_sent=granted.tokens_sent, now=_now()
        )
        lane.allowed()

    async def _fill(self, pool: Pool, purse: Purse, *, last: bool = False) -> None:
        """Set more aside for a purse, or give back; whoever waits for it goes on, or hears that there is no more."""
        asked = pool.ask(
            Amounts(*purse.taken()),
            out=purse.out > 0,
            waiting=bool(purse.parked),
            now=_now(),
            lease=self._sharing.lease,
            last=last,
        )
        if asked is None:
            return
        pool.told(asked, await self._sharing.set_aside(asked), _now(), out=purse.out > 0)
        while (waiting := purse.parked.first()) is not None and waiting.fund(_now()):
            pass
        if waiting is not None and not purse.may_pay_later(waiting.upper_bound()):
            waiting.ask_again(_now())
        for lane in self._lanes:
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
