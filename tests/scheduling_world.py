"""Small servers on virtual time, requests and a gateway around them, for the scheduling tests."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from metaspo.backends import Completion, Message, Reply, Request, Sampling, ServerInfo, Usage

PROMPT_TOKENS = 10
ANSWER_TOKENS = 5


def ask(number: int, *, system: str = "", max_tokens: int = 16) -> Request:
    """A request of its own for each number."""
    question = Message("user", f"question {number}")
    messages = (Message("system", system), question) if system else (question,)
    return Request(model="m", messages=messages, sampling=Sampling(max_tokens=max_tokens))


def answer(text: str, *, latency: float = 1.0) -> Reply:
    """A whole answer of fixed usage."""
    usage = Usage(PROMPT_TOKENS, ANSWER_TOKENS)
    return Reply(Completion(text=text, finish_reason="stop", usage=usage, latency=latency))


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()


class Server:
    """Answers every request after `latency` seconds with its own last message, unless `plan` raises.

    Attributes:
        plan: called with the server and the request as a call arrives; raises what the call should fail with at once.
        calls: text and time of every call that arrived; finished, finished_at: texts and times of those answered.
        peak: most calls at once; cancelled: calls dropped by the client.
    """

    def __init__(self, name: str = "server", *, latency: float = 1.0) -> None:
        self._name = name
        self.latency = latency
        self.plan: Callable[[Request], None] = _accept
        self.probe_plan: Callable[[], None] = _nothing
        self.calls: list[tuple[str, float]] = []
        self.finished: list[str] = []
        self.finished_at: list[float] = []
        self.probes = 0
        self.running = 0
        self.peak = 0
        self.cancelled = 0
        self.closed = False

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        text = request.messages[-1].content
        self.calls.append((text, now()))
        with self._counted():
            self.plan(request)
            await self.work(request)
        self.finished.append(text)
        self.finished_at.append(now())
        return answer(text, latency=self.latency)

    async def work(self, request: Request) -> None:
        await asyncio.sleep(self.latency)

    async def probe(self) -> ServerInfo:
        self.probes += 1
        self.probe_plan()
        return ServerInfo(models=("m",))

    async def load(self) -> Mapping[str, float]:
        return {}

    async def aclose(self) -> None:
        self.closed = True

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            yield
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


class SlotServer(Server):
    """Works on `slots` calls at once, `latency` seconds each; the others wait in line, as in vLLM."""

    def __init__(self, name: str = "slots", *, slots: int, latency: float = 1.0) -> None:
        super().__init__(name, latency=latency)
        self.slots = slots
        self._busy = 0
        self._line: list[asyncio.Future[None]] = []

    async def work(self, request: Request) -> None:
        while self._busy >= self.slots:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(turn)
            await turn
        self._busy += 1
        try:
            await asyncio.sleep(self.latency)
        finally:
            self._busy -= 1
            while self._line and self._busy < self.slots:
                turn = self._line.pop(0)
                if not turn.done():
                    turn.set_result(None)
                    break


def _accept(request: Request) -> None:
    """Refuse nothing."""


def _nothing() -> None:
    """Answer the probe."""
