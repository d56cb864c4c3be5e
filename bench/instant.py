"""A model that answers at once: what is left of a run's time on it is metaspo's own."""

from collections import Counter
from collections.abc import Callable, Mapping

from metaspo.backends import Completion, Reply, Request, ServerInfo
from metaspo.backends.usage import estimate_usage


class InstantModel:
    """Answers by a function, without waiting.

    Attributes:
        calls: how many, by model.
        requests: every request in order, if `remember` was set.
    """

    def __init__(self, answer: Callable[[Request], str], *, name: str = "instant", remember: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.requests: list[Request] = []
        self._answer = answer
        self._name = name
        self._remember = remember

    def __repr__(self) -> str:
        return f"<InstantModel {self._name}, {self.calls.total()} calls>"

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """The function's answer."""
        self.calls[request.model] += 1
        if self._remember:
            self.requests.append(request)
        text = self._answer(request)
        usage = estimate_usage(request, text)
        return Reply(Completion(text=text, finish_reason="stop", usage=usage, latency=0.0, server=self._name))

    async def probe(self) -> ServerInfo:
        """Just the name."""
        return ServerInfo(models=(self._name,))

    async def load(self) -> Mapping[str, float]:
        """Shows no gauges."""
        return {}

    async def aclose(self) -> None:
        """There is nothing to let go of."""
