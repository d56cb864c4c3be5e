"""A model that answers at once, so that what is left of a run's time is metaspo's own; one behind another; and a
gateway whose evaluations are asked otherwise."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from metaspo.backends import Backend, Completion, Reply, Request, RequestRejected, ServerInfo
from metaspo.backends.simulated import InProcess
from metaspo.cache import MemoryStore
from metaspo.scheduling import Account, Gateway, Lane, Priority
from metaspo.scheduling.lanes.single_flight import OnAnswer


class Behind:
    """Another backend, of which something is done otherwise."""

    def __init__(self, inner: Backend) -> None:
        self.name = inner.name
        self._inner = inner

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """As the other one."""
        return await self._inner.complete(request, time_limit=time_limit)

    async def probe(self) -> ServerInfo:
        """As the other one."""
        return await self._inner.probe()

    async def load(self) -> Mapping[str, float]:
        """As the other one."""
        return await self._inner.load()

    async def aclose(self) -> None:
        """As the other one."""
        await self._inner.aclose()


class InstantModel(InProcess):
    """Answers by a function, without waiting.

    Attributes:
        calls: how many, by model.
        requests: every request in order, if `remember` was set.
    """

    def __init__(self, answer: Callable[[Request], str], *, name: str = "instant", remember: bool = False) -> None:
        super().__init__(name)
        self.calls: Counter[str] = Counter()
        self.requests: list[Request] = []
        self._answer = answer
        self._remember = remember

    def __repr__(self) -> str:
        return f"<InstantModel {self._name}, {self.calls.total()} calls>"

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """The function's answer."""
        self.calls[request.model] += 1
        if self._remember:
            self.requests.append(request)
        return self._reply(request, self._answer(request))


class OtherwiseAsked(Gateway):
    """A gateway whose evaluations pass by `asked` on their way; answers are kept in memory."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        super().__init__(lanes, store=MemoryStore())

    def asked(self, requests: Sequence[Request], priority: Priority) -> tuple[Sequence[Request], Priority]:
        """What is asked in their place, and how urgently."""
        raise NotImplementedError

    async def complete_many(
        self,
        requests: Sequence[Request],
        *,
        lane: str,
        account: Account | None = None,
        priority: Priority = (),
        on_answer: OnAnswer | None = None,
    ) -> list[Completion | RequestRejected]:
        """As the gateway, of what `asked` makes of it."""
        requests, priority = self.asked(requests, priority)
        return await super().complete_many(requests, lane=lane, account=account, priority=priority, on_answer=on_answer)
