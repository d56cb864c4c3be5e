"""A model that answers at once, so that what is left of a run's time is metaspo's own; and one behind another."""

from collections import Counter
from collections.abc import Callable, Mapping

from metaspo.backends import Backend, Reply, Request, ServerInfo
from metaspo.backends.simulated import InProcess


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
