"""Others who use a session's gateway beside its runs: they ask, leave, ask again, and pay for themselves."""

import asyncio
from collections.abc import Callable, Sequence

from simulation_plan import GUEST, Guest

from metaspo.backends import Completion, Message, Request, RequestRejected, Sampling
from metaspo.scheduling import Account, Budget, BudgetExhausted, Cost, Gateway, GivenUp, RunStopped

MOMENT = 1e-6
MODELS = {"base": "answerer", "optimizer": "writer"}


class Visit:
    """One guest in one session; `texts` holds what any guest was ever answered, by question.

    `exact` says that looking something up in the store takes no time.
    """

    def __init__(
        self, guest: Guest, gateway: Gateway, texts: dict[Request, str], *, exact: bool, breaks: Callable[[str], None]
    ) -> None:
        self.account = Account("guest", Budget(**guest.caps), announce=self._announce)
        self._guest = guest
        self._gateway = gateway
        self._texts = texts
        self._exact = exact
        self._breaks = breaks
        self._announced = Cost()
        self._requests = [_ask(guest.lane, number) for number in guest.numbers]

    async def run(self) -> None:
        """Ask, perhaps leave, perhaps ask again. A stop ends the visit, as it ends a run."""
        guest = self._guest
        await asyncio.sleep(guest.after)
        try:
            try:
                async with asyncio.timeout(guest.leaves):
                    await self._get()
            except TimeoutError:
                if guest.again:
                    await self._get()
        except GivenUp:
            pass  # theirs alone
        except BudgetExhausted as stop:
            check_exhausted(stop, self._breaks)
        except RunStopped as stop:
            if type(stop) is RunStopped:
                self._breaks(f"a guest was told, in an open gateway: {stop}")

    def check(self) -> None:
        """What is taken was announced before, in whatever is capped."""
        taken = self.account.taken()
        for name in self._guest.caps:
            if getattr(taken, name) > getattr(self._announced, name) + MOMENT:
                self._breaks(f"a guest has taken {taken}, announced were {self._announced}")

    async def _get(self) -> None:
        guest, clock = self._guest, asyncio.get_running_loop().time
        began = clock()
        answers: Sequence[Completion | RequestRejected]
        if len(self._requests) == 1:
            answers = [
                await self._gateway.complete(
                    self._requests[0], lane=guest.lane, account=self.account, priority=guest.priority
                )
            ]
            self._check_time(clock() - began)
        else:
            answers = await self._gateway.complete_many(
                self._requests, lane=guest.lane, account=self.account, priority=guest.priority
            )
        for request, answer in zip(self._requests, answers, strict=True):
            if isinstance(answer, GivenUp):
                continue
            if not isinstance(answer, Completion):
                self._breaks(f"a guest got {answer!r}")
            elif self._texts.setdefault(request, answer.text) != answer.text:
                self._breaks(f"guests were answered {self._texts[request]!r} and {answer.text!r}")

    def _check_time(self, seconds: float) -> None:
        """Where one plain request spent its time adds up to the time that it took."""
        use = self.account.statistics().total
        if not self._exact or use.retries or use.joined or use.withdrawn or use.failed or use.calls + use.hits > 1:
            return
        spent = use.queue_seconds + use.limiter_seconds + use.server_seconds + use.store_seconds
        if min(use.queue_seconds, use.limiter_seconds) < -MOMENT or abs(spent - seconds) > MOMENT:
            self._breaks(f"a guest waited for {seconds:g} seconds, of which {use} tells {spent:g}")

    def _announce(self, account: Account) -> None:
        self._announced = account.announced()


def check_exhausted(stop: BudgetExhausted, breaks: Callable[[str], None]) -> None:
    """A cap on calls is used up to the last one."""
    if stop.spent > stop.limit + MOMENT or (stop.cap == "calls" and stop.spent < stop.limit):
        breaks(f"at {stop.spent:g} of {stop.limit:g} {stop.cap}: {stop}")


def _ask(lane: str, number: int) -> Request:
    question = f"{GUEST} whether number {number} is even."
    return Request(model=MODELS[lane], messages=(Message("user", question),), sampling=Sampling(max_tokens=32))
