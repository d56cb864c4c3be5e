"""Models that are functions, for tests of everything above a backend: yours as well as ours."""

import random
from collections.abc import Callable, Mapping, Sequence

import anyio

from metaspo.backends.base import Completion, Reply, Request, ServerInfo, Usage
from metaspo.backends.chat.usage import estimate_usage
from metaspo.backends.errors import BackendError, FatalError, RequestRejected, TimedOut

Answer = Callable[[Request], str]
Latency = Callable[[Request, random.Random], float]
FaultPlan = Callable[[Request, int], BackendError | None]


class InProcess:
    """What models that are no server have in common. Time is the event loop's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._in_flight = 0

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    async def probe(self) -> ServerInfo:
        """Just the name."""
        return ServerInfo(models=(self._name,))

    async def load(self) -> Mapping[str, float]:
        """Shows no gauges."""
        return {}

    async def aclose(self) -> None:
        """There is nothing to let go of."""

    async def _wait(self, latency: float, *, time_limit: float) -> None:
        """Seconds that an answer takes. Raises `TimedOut`."""
        self._in_flight += 1
        try:
            await anyio.sleep(min(latency, time_limit))
        finally:
            self._in_flight -= 1
        if latency > time_limit:
            raise TimedOut(f"{self._name} gave no whole answer within {time_limit:g} seconds.")

    def _reply(self, request: Request, text: str, *, latency: float = 0.0, usage: Usage | None = None) -> Reply:
        """The text as a whole answer, its tokens counted as a quarter of the characters, rounded up, if not given."""
        usage = usage or estimate_usage(request, text)
        return Reply(Completion(text=text, finish_reason="stop", usage=usage, latency=latency, server=self._name))


class Simulated(InProcess):
    """A model that answers by a function, after a time and with faults that functions decide, too.

    Nothing depends on the order or the concurrency of calls: the latency is drawn from a generator seeded with `seed`
    and the request, a fault is decided by the request and how often it was sent before.

    Attributes:
        calls: every request in the order in which they were sent.
        most_in_flight: the greatest number of calls that were under way at once.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        latency: float | Latency = 0.0,
        faults: FaultPlan | None = None,
        seed: int = 0,
        name: str = "simulated",
        server_info: ServerInfo | None = None,
    ) -> None:
        """`latency` in seconds, fixed or drawn for each request; `faults(request, n)` gives the error to raise for the
        request's n-th sending, counted from 0, or None."""
        super().__init__(name)
        self.calls: list[Request] = []
        self.most_in_flight = 0
        self._answer = answer
        self._latency = latency
        self._faults = faults
        self._seed = seed
        self._server_info = server_info or ServerInfo(models=(name,))
        self._sent: dict[Request, int] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}, {len(self.calls)} calls, {self._in_flight} in flight>"

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """The function's answer after the drawn latency; `TimedOut` if that is over the limit, or a planned fault."""
        attempt = self._sent.get(request, 0)
        self._sent[request] = attempt + 1
        self.calls.append(request)
        latency = self._draw_latency(request)
        self.most_in_flight = max(self.most_in_flight, self._in_flight + 1)
        await self._wait(latency, time_limit=time_limit)
        fault = self._faults(request, attempt) if self._faults is not None else None
        if fault is not None:
            raise fault
        if request.path:
            raise RequestRejected(f"{self._name} answers chats only, and was asked for {request.path}.")
        return self._reply(request, self._answer(request), latency=latency)

    async def probe(self) -> ServerInfo:
        """What was given, or just the name."""
        return self._server_info

    async def load(self) -> Mapping[str, float]:
        """The calls under way, as "running"."""
        return {"running": float(self._in_flight)}

    def _draw_latency(self, request: Request) -> float:
        if not callable(self._latency):
            return self._latency
        return self._latency(request, random.Random(f"{self._seed}/{request!r}"))


class Scripted(Simulated):
    """A model that says what it was told to, at once.

    `answers` is a function of the request; or a mapping from the text of the last message; or a sequence, given out in
    the order of the calls. Where it has no answer it raises `FatalError`, which ends a run rather than passing by.
    """

    def __init__(self, answers: Answer | Mapping[str, str] | Sequence[str], *, name: str = "scripted") -> None:
        super().__init__(_lookup(answers), name=name)


def _lookup(answers: Answer | Mapping[str, str] | Sequence[str]) -> Answer:
    if callable(answers):
        return answers
    if isinstance(answers, Mapping):
        by_text = answers

        def answer_by_text(request: Request) -> str:
            text = request.messages[-1].content if request.messages else ""
            if text not in by_text:
                raise FatalError("The scripted model has no answer to one of the questions.")
            return by_text[text]

        return answer_by_text
    rest = iter(answers)

    def answer_in_order(_: Request) -> str:
        for text in rest:
            return text
        raise FatalError("The scripted model was asked more often than it has answers.")

    return answer_in_order
