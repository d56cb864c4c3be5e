"""A model of one vLLM server: what its time depends on, and nothing else.

The server works in steps. Before a step it admits waiting requests, first come first served, while there is a place for
them (`max_num_seqs`), room in the KV cache, and room among the tokens of one step; a step then computes the prompts of
those it admitted, except the blocks that the cache holds already, and one token of every running request. A step takes

    step_seconds + sequence_seconds x running requests + prompt_seconds x prompt tokens computed.

Left out: preemption (a request gets room for its whole answer when it is admitted), prompts computed in pieces, reuse
of answers' blocks, and everything random. Answers and their length come from a function of the request.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil

import anyio

from metaspo.backends import Overloaded, Reply, Request, TimedOut, Usage
from metaspo.backends.chat.usage import estimate_usage
from metaspo.backends.simulated import InProcess
from metaspo.bench.servers.kv_cache import KVCache, block_keys
from metaspo.bench.workload import CHARS_PER_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class VLLMModel:
    """A server's parameters. The defaults are assumed, of the order of a 3B model on one A100.

    Attributes:
        max_num_seqs: requests that run at once.
        max_num_batched_tokens: of prompts and answers in one step; a longer prompt has a step of its own.
        kv_blocks: of the KV cache; block_tokens: tokens in each.
        step_seconds: of any step (reading the weights, launching kernels).
        sequence_seconds: more for each running request.
        prompt_seconds: more for each prompt token computed.
        network_seconds: from client to server, and the same back.
        queue_bound: requests waiting and running above which a new one is refused with 503; None for no bound.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    kv_blocks: int = 20_000
    block_tokens: int = 16
    step_seconds: float = 0.008
    sequence_seconds: float = 0.000_03
    prompt_seconds: float = 0.000_04
    network_seconds: float = 0.001
    queue_bound: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VLLMStatistics:
    """What a server did.

    Attributes:
        prompt_tokens: of all admitted prompts; `computed_tokens` of them were not in the cache.
        most_running: the greatest number of requests that ran at once.
        busy_seconds: in which it had something to do.
    """

    answered: int
    refused: int
    prompt_tokens: int
    computed_tokens: int
    most_running: int
    steps: int
    busy_seconds: float

    @property
    def hit_rate(self) -> float:
        """Share of the prompt tokens that the cache held."""
        return 1 - self.computed_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


class _Sequence:
    """One request on the server."""

    __slots__ = ("admitted", "cached", "done", "gone", "keys", "nameless", "usage")

    def __init__(self, keys: tuple[int, ...], nameless: int, usage: Usage, done: "asyncio.Future[None]") -> None:
        self.keys = keys
        self.nameless = nameless
        self.usage = usage
        self.done = done
        self.cached = 0  # tokens
        self.admitted = False
        self.gone = False


class SimulatedVLLM(InProcess):
    """One server as a backend; several make a lane of replicas. Time is the event loop's.

    Attributes:
        answered_at: when each answer was ready, in seconds.
    """

    def __init__(
        self, answer: Callable[[Request], str], model: VLLMModel | None = None, *, name: str = "simulated-vllm"
    ) -> None:
        super().__init__(name)
        self.model = model or VLLMModel()
        self.answered_at: list[float] = []
        self._answer = answer
        self._cache = KVCache(self.model.kv_blocks)
        self._waiting: deque[_Sequence] = deque()
        self._ends: list[tuple[int, int, _Sequence]] = []  # step in which it ends, tie breaker, request
        self._running = 0
        self._withdrawn = 0  # requests in `_waiting` whose client is gone
        self._step = 0
        self._number = 0
        # Of the steps that are computed now: when they began, how long each takes, how many; None while idle.
        self._began = self._each = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._refused = self._prompt_tokens = self._computed = self._most_running = 0
        self._busy = 0.0

    def __repr__(self) -> str:
        return f"<SimulatedVLLM {self._name} running={self._running} waiting={self._queued()} {self._cache}>"

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """The answer when the simulated server has computed it. Raises `Overloaded` and `TimedOut`.

        A call that is cancelled, or over its limit, leaves the server at its next step.
        """
        clock = asyncio.get_running_loop().time
        sent = clock()
        text = self._answer(request)
        await anyio.sleep(self.model.network_seconds)
        sequence = self._arrive(request, estimate_usage(request, text))
        try:
            async with asyncio.timeout_at(sent + time_limit):
                await sequence.done
        except TimeoutError:
            raise TimedOut(f"{self._name} gave no whole answer within {time_limit:g} seconds.") from None
        finally:
            self._leave(sequence)
        await anyio.sleep(self.model.network_seconds)
        usage = Usage(sequence.usage.prompt_tokens, sequence.usage.completion_tokens, sequence.cached)
        return self._reply(request, text, latency=clock() - sent, usage=usage)

    async def load(self) -> Mapping[str, float]:
        """As a vLLM's metrics page tells it."""
        return {
            "running": float(self._running),
            "waiting": float(self._queued()),
            "preemptions": 0.0,
            "kv_cache": self._cache.held / self._cache.blocks,
        }

    async def aclose(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def change(self, model: VLLMModel) -> None:
        """Go on with other parameters, from the next step; the KV cache stays as it is."""
        self.model = model

    def statistics(self) -> VLLMStatistics:
        """What it did so far."""
        return VLLMStatistics(
            answered=len(self.answered_at),
            refused=self._refused,
            prompt_tokens=self._prompt_tokens,
            computed_tokens=self._computed,
            most_running=self._most_running,
            steps=self._step,
            busy_seconds=self._busy,
        )

    def _queued(self) -> int:
        return len(self._waiting) - self._withdrawn

    def _arrive(self, request: Request, usage: Usage) -> _Sequence:
        model = self.model
        if model.queue_bound is not None and self._queued() + self._running >= model.queue_bound:
            self._refused += 1
            raise Overloaded(f"{self._name} has {model.queue_bound} requests already.")
        keys = prompt_blocks(request, usage.prompt_tokens, model)
        blocks = ceil((usage.prompt_tokens + usage.completion_tokens) / model.block_tokens)
        loop = asyncio.get_running_loop()
        sequence = _Sequence(keys, blocks - len(keys), usage, loop.create_future())
        self._waiting.append(sequence)
        if self._timer is None:
            self._timer = loop.call_at(loop.time(), self._boundary)
        elif self._running < model.max_num_seqs:
            self._cut_short(loop)
        return sequence

    def _leave(self, sequence: _Sequence) -> None:
        """Its client has the answer, or has gone away without it."""
        if sequence.done.done() and not sequence.done.cancelled():
            return
        sequence.gone = True
        if sequence.admitted:
            self._release(sequence)
            self._cut_short(sequence.done.get_loop())
        else:
            self._withdrawn += 1

    def _release(self, sequence: _Sequence) -> None:
        self._running -= 1
        self._cache.give_back(sequence.keys, nameless=sequence.nameless)

    def _cut_short(self, loop: asyncio.AbstractEventLoop) -> None:
        """Somebody new may be admitted: look again at the end of the step that is being computed."""
        if self._timer is None or self._timer.when() <= loop.time():
            return
        done = max(1, ceil((loop.time() - self._began) / self._each - 1e-9))
        when = self._began + done * self._each
        if when < self._timer.when() - 1e-9:
            self._timer.cancel()
            self._timer = loop.call_at(when, self._boundary, done)

    def _boundary(self, steps: int = 0) -> None:
        """So many steps are over: end, admit, and begin the next ones."""
        loop = asyncio.get_running_loop()
        self._step += steps
        self._busy += steps * self._each
        self._end_due()
        computed, admitted = self._admit()
        if not self._running:
            self._timer = None
            return
        # With a new prompt the next step is like no other; without one, steps are alike until the next request ends.
        count = 1 if admitted else self._ends[0][0] - self._step
        self._began = loop.time()
        model = self.model
        self._each = model.step_seconds + model.sequence_seconds * self._running + model.prompt_seconds * computed
        self._timer = loop.call_at(self._began + count * self._each, self._boundary, count)

    def _end_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._ends and (self._ends[0][0] <= self._step or self._ends[0][2].gone):
            sequence = heappop(self._ends)[2]
            if not sequence.gone:
                self.answered_at.append(now)
                self._release(sequence)
                sequence.done.set_result(None)

    def _admit(self) -> tuple[int, int]:
        """Let waiting requests in; returns the prompt tokens to be computed for them, and how many they are."""
        computed = admitted = 0
        budget = self.model.max_num_batched_tokens - self._running
        while self._waiting and self._running < self.model.max_num_seqs:
            sequence = self._waiting[0]
            if sequence.gone:
                self._waiting.popleft()
                self._withdrawn -= 1
                continue
            if admitted and computed >= budget:
                break
            cached_blocks = self._cache.take(sequence.keys, nameless=sequence.nameless)
            if cached_blocks is None:
                break
            self._waiting.popleft()
            computed += self._start(sequence, cached_blocks)
            admitted += 1
        return computed, admitted

    def _start(self, sequence: _Sequence, cached_blocks: int) -> int:
        """Run it from now on; returns the prompt tokens that are to be computed."""
        prompt = sequence.usage.prompt_tokens
        sequence.cached = min(cached_blocks * self.model.block_tokens, prompt - 1)
        sequence.admitted = True
        self._running += 1
        self._most_running = max(self._most_running, self._running)
        self._prompt_tokens += prompt
        self._computed += prompt - sequence.cached
        self._number += 1
        heappush(self._ends, (self._step + max(1, sequence.usage.completion_tokens), self._number, sequence))
        return prompt - sequence.cached


def prompt_blocks(request: Request, prompt_tokens: int, model: VLLMModel) -> tuple[int, ...]:
    """Keys of the whole KV blocks of a request's prompt."""
    text = "\x1e".join(message.content for message in request.messages)
    keys = block_keys(text, block_chars=model.block_tokens * CHARS_PER_TOKEN)
    return keys[: prompt_tokens // model.block_tokens]
