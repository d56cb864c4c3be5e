"""A user's own server at several concurrencies: how much it serves, how long calls take, what they cost.

Requests look like a run's: a system prompt, many questions under it, short answers; every level asks other questions.
They go through metaspo's gateway with a fixed concurrency, so that refusals are retried as in a run; no answer is
stored. The prefix-cache hit rate is the server's own: from its `/metrics` page where it has one, else from the usage
that it reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

import aiohttp
import anyio

from metaspo.backends import Completion, Message, OpenAICompatible, Request, Sampling, Usage
from metaspo.bench.report import Figure, Report, Row
from metaspo.bench.workload import filler
from metaspo.cache import MemoryStore
from metaspo.scheduling import Account, Budget, Gateway, Lane, LaneSettings, Prices

GROUP = 25  # questions under one system prompt
GOOD_ENOUGH = 0.95  # of the best throughput: the smallest level that reaches it is recommended
METRICS_LIMIT = 10.0  # seconds
_QUERIES, _HITS = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTarget:
    """The server and how to ask it.

    Attributes:
        url: base URL, with or without /v1.
        dollars_per_hour: what the server costs while it runs; None where calls are paid by token or not at all.
    """

    url: str
    model: str
    api_key: str | None = None
    prices: Prices | None = None
    dollars_per_hour: float | None = None
    prompt_tokens: int = 250
    max_tokens: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one concurrency brought."""

    concurrency: int
    answers: tuple[Completion, ...]
    seconds: float
    retries: int
    dollars: float
    hit_rate: float | None

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.answers) / self.seconds


async def measure_live(target: LiveTarget, *, levels: Sequence[int], calls: int) -> Report:
    """All levels, at most `calls` calls together.

    Raises:
        BackendError, RunStopped: when the server cannot be used.
    """
    backend = OpenAICompatible(target.url, api_key=target.api_key)
    try:
        info = await backend.probe()
        shares = shared_out(calls, levels)
        measured, start = [], 0
        for concurrency, count in shares.items():
            measured.append(await _level(target, concurrency, make_requests(target, count, start=start)))
            start += count
    finally:
        await backend.aclose()
    best = recommended([(level.concurrency, level.rate) for level in measured])
    return Report(
        scenario="live",
        title=f"{target.model} at {backend.name}",
        rows=[_row(target, level) for level in measured],
        parameters={"prompt tokens, about": target.prompt_tokens, "max_tokens": target.max_tokens},
        notes=(
            f"Recommended: concurrency = {best}, the smallest that serves {GOOD_ENOUGH:.0%} of the most measured here.",
            f"The server lists {', '.join(info.models) or 'no models'}; {sum(shares.values()):,} calls were planned.",
        ),
    )


def shared_out(calls: int, levels: Sequence[int]) -> dict[int, int]:
    """Calls for each level, in order: more for those that answer more at once, never more than `calls` in all."""
    wanted = {level: 8 + 4 * level for level in sorted(set(levels))}
    whole = sum(wanted.values())
    if whole <= calls:
        return wanted
    shares = {level: max(1, count * calls // whole) for level, count in wanted.items()}
    while sum(shares.values()) > calls:
        largest = max(shares, key=lambda level: shares[level])
        shares[largest] -= 1
    return {level: count for level, count in shares.items() if count}


def recommended(rates: Sequence[tuple[int, float]]) -> int:
    """The smallest concurrency whose rate is good enough."""
    best = max(rate for _, rate in rates)
    return min(concurrency for concurrency, rate in rates if rate >= GOOD_ENOUGH * best)


def make_requests(target: LiveTarget, count: int, *, start: int) -> list[Request]:
    """Requests of about the wished length; two thirds of each is shared within its group."""
    system, question = filler(target.prompt_tokens * 2 / 3), filler(target.prompt_tokens / 3)
    return [
        Request(
            model=target.model,
            messages=(
                Message("system", f"You are assistant {number // GROUP}. {system}"),
                Message("user", f"Statement {number}: {question}\nIs the statement's number even? Say yes or no."),
            ),
            sampling=Sampling(max_tokens=target.max_tokens),
        )
        for number in range(start, start + count)
    ]


async def _level(target: LiveTarget, concurrency: int, requests: Sequence[Request]) -> Level:
    settings = LaneSettings(concurrency=concurrency, prices=target.prices, patience=60.0)
    backend = OpenAICompatible(target.url, api_key=target.api_key)
    # Retries are paid for as well: a server that refuses half of the calls is not asked twice as often.
    account = Account("live", Budget(calls=len(requests)))
    before = await prefix_counters(backend.base_url)
    async with Gateway([Lane("live", [backend], settings)], store=MemoryStore()) as gateway:
        started = anyio.current_time()
        answers = await gateway.complete_many(requests, lane="live", account=account)
        seconds = anyio.current_time() - started
    completions = tuple(answer for answer in answers if isinstance(answer, Completion))
    use = account.statistics().total
    return Level(
        concurrency=concurrency,
        answers=completions,
        seconds=seconds,
        retries=use.retries,
        dollars=use.dollars,
        hit_rate=hit_rate(
            before, await prefix_counters(backend.base_url), [completion.usage for completion in completions]
        ),
    )


async def prefix_counters(base_url: str) -> tuple[float, float] | None:
    """vLLM's counts of prompt tokens looked up and found in its prefix cache; None where it does not show them."""
    url = base_url.removesuffix("/v1") + "/metrics"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=METRICS_LIMIT)) as session,
            session.get(url) as response,
        ):
            text = await response.text() if response.status == 200 else ""
    except (aiohttp.ClientError, TimeoutError):
        return None
    queries, hits = _sum_of(text, _QUERIES), _sum_of(text, _HITS)
    return None if queries is None or hits is None else (queries, hits)


def _sum_of(text: str, name: str) -> float | None:
    values = [float(line.split()[-1]) for line in text.splitlines() if line.partition("{")[0].split(" ")[0] == name]
    return sum(values) if values else None


def hit_rate(
    before: tuple[float, float] | None, after: tuple[float, float] | None, usages: Sequence[Usage]
) -> float | None:
    """The share of prompt tokens found in the prefix cache: by the counters, else by the answers' usage; None if
    neither tells."""
    if before is not None and after is not None and after[0] > before[0]:
        return (after[1] - before[1]) / (after[0] - before[0])
    prompt = sum(usage.prompt_tokens for usage in usages)
    cached = sum(usage.cached_tokens for usage in usages)
    return cached / prompt if cached and prompt else None


def _row(target: LiveTarget, level: Level) -> Row:
    latencies = sorted(answer.latency for answer in level.answers)
    cuts = quantiles(latencies, n=20, method="inclusive") if len(latencies) > 1 else latencies * 19
    tokens = sum(answer.usage.completion_tokens for answer in level.answers)
    return {
        "concurrency": level.concurrency,
        "calls": len(level.answers),
        "retries": level.retries,
        "answers/s": level.rate,
        "answer tokens/s": tokens / level.seconds,
        "p50 s": cuts[9] if cuts else None,
        "p95 s": cuts[18] if cuts else None,
        "prefix hits": level.hit_rate,
        "$/1000": _dollars_per_thousand(target, level),
    }


def _dollars_per_thousand(target: LiveTarget, level: Level) -> Figure:
    if target.prices is not None and level.answers:
        return 1000 * level.dollars / len(level.answers)
    if target.dollars_per_hour is not None:
        return 1000 * target.dollars_per_hour / 3600 / level.rate
    return None
