"""How much of a limit is used without tripping it, what is left where a server refuses calls at random, and whether
`auto` finds the concurrency that serves best.

On virtual time, against simulated servers: the same figures on every machine.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from metaspo.backends import Message, Request, Sampling
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.report import Report, Row
from metaspo.bench.servers.simulated_openai import GPT_4O_MINI, MINUTE, OpenAIModel, SimulatedOpenAI
from metaspo.bench.servers.simulated_vllm import SimulatedVLLM, VLLMModel
from metaspo.bench.workload import BASE, answer, filler
from metaspo.cache import MemoryStore
from metaspo.engine.gather import gather
from metaspo.scheduling import Gateway, Lane, LaneSettings

CALIBRATION = 60.0  # seconds at the start that do not count
MINUTES = 4
REFUSED = (0.05, 0.1, 0.25, 0.5)
REFUSED_BESIDE_LIMITS = (0.01, 0.05, 0.1, 0.25)
SLOTS = 32  # on a server that refuses so many
FREE = LaneSettings(concurrency=SLOTS)
FIXED = (64, 128, 192, 256, 320, 512)
REPLICAS = (2, 4)
REQUESTS = 6_000  # for each replica
COUNTED = (0.5, 0.9)  # part of the answers whose rate is compared: after the search, before the queue runs dry
CHANGE_AT = 30.0  # seconds
WINDOW = 10.0  # seconds of answers behind one rate
NEAR = 0.9  # of the best rate


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCase:
    """One way in which a provider limits; `known` says whether the lane was told the limits."""

    name: str
    model: OpenAIModel
    known: bool = True
    prompt_tokens: int = 600
    max_tokens: int = 128


TIER_1, TIER_3 = GPT_4O_MINI[1], GPT_4O_MINI[3]
CASES = (
    LimitCase(name="requests, tier 1", model=TIER_1, prompt_tokens=100),
    LimitCase(name="tokens, tier 1", model=TIER_1),
    LimitCase(name="tokens, tier 1, answers not counted", model=replace(TIER_1, counts_max_tokens=False)),
    LimitCase(name="tokens, tier 1, long max_tokens", model=TIER_1, max_tokens=1024),
    LimitCase(name="tokens, tier 1, limits not told", model=TIER_1, known=False),
    LimitCase(name="tokens, tier 1, limits not told, long max_tokens", model=TIER_1, known=False, max_tokens=1024),
    LimitCase(name="tokens, tier 1, half a second saved up", model=replace(TIER_1, burst_seconds=0.5)),
    LimitCase(
        name="tokens, tier 1, a quarter of a second saved up, shorter prompts",
        model=replace(TIER_1, burst_seconds=0.25),
        prompt_tokens=330,
    ),
    LimitCase(name="tokens, tier 1, no headers", model=replace(TIER_1, shows_headers=False)),
    LimitCase(name="requests, tier 3", model=TIER_3, prompt_tokens=100),
    LimitCase(
        name="tokens, tier 3, a quarter of a second saved up", model=replace(TIER_3, burst_seconds=0.25), max_tokens=512
    ),
    LimitCase(
        name="requests, tier 1, nothing told but when to come back",
        model=replace(TIER_1, tokens_per_minute=None, shows_headers=False),
        known=False,
        prompt_tokens=100,
    ),
)


def measure_limits(
    *,
    cases: Sequence[LimitCase] = CASES,
    refused: Sequence[float] = REFUSED,
    refused_beside_limits: Sequence[float] = REFUSED_BESIDE_LIMITS,
    minutes: int = MINUTES,
    requests: int = REQUESTS,
    fixed: Sequence[int] = FIXED,
    change_at: float = CHANGE_AT,
) -> Report:
    """Rate limits first, then concurrency."""
    server = VLLMModel()
    half = replace(server, max_num_seqs=server.max_num_seqs // 2)
    rows = [limit_row(case, minutes=minutes) for case in cases]
    rows += [refused_row(share, minutes=minutes) for share in refused]
    for told in (False, True):
        rows += [limited_refused_row(share, told=told, minutes=minutes) for share in refused_beside_limits]
    best = {model: _best_rate(model, requests, fixed) for model in (server, half)}
    rate = _rate(_answer_times(server, LaneSettings(), requests))
    rows.append(_row("auto", "answers/s", best[server], rate))
    rows += [_replicas_row(server, count, requests, best[server]) for count in REPLICAS]
    rows.append(_change_row("auto, places halved", server, half, requests, best[half], change_at))
    rows.append(_change_row("auto, places doubled", half, server, requests, best[server], change_at))
    return Report(
        scenario="limits",
        title="Limits used and concurrency found, simulated",
        rows=rows,
        parameters={"simulated vLLM": asdict(server), "simulated GPT-4o mini, tier 1": asdict(TIER_1)},
        notes=(
            f"Rate limits: what was granted per minute after the first {CALIBRATION:g} s, and refusals (429) since.",
            f"Refused at random: answers per second from {SLOTS} slots after the first {CALIBRATION:g} s, beside "
            "(1 - share) of those where nothing is refused.",
            "Refused at random beside a limit: answers per minute after that, beside (1 - share) of the limit.",
            "Concurrency: answers per second, beside those of the best fixed concurrency on the same requests.",
            f"Places changed after {change_at:g} s: seconds until {WINDOW:g} s of answers came at {NEAR:.0%} of the "
            "best rate that is possible then.",
        ),
    )


def limit_row(case: LimitCase, *, minutes: int = MINUTES) -> Row:
    """How much of its limit a lane used."""
    model = case.model
    limit = "requests" if "requests" in case.name else "tokens"
    allowed = model.requests_per_minute if limit == "requests" else model.tokens_per_minute
    assert allowed is not None
    server = SimulatedOpenAI(answer, model)
    refusals_at_first = 0

    async def main() -> None:
        nonlocal refusals_at_first
        settings = LaneSettings(
            concurrency=512,
            requests_per_minute=model.requests_per_minute if case.known else None,
            tokens_per_minute=model.tokens_per_minute if case.known else None,
            billing="tokens",
        )
        sample = _request(case, 0)
        counted = 1 if limit == "requests" else model.tokens(sample)
        asked = [_request(case, number) for number in range(allowed * minutes // counted)]

        async def note_refusals() -> None:
            nonlocal refusals_at_first
            await asyncio.sleep(CALIBRATION)
            refusals_at_first = server.refusals.total()

        async with Gateway([Lane("api", [server], settings)], store=MemoryStore()) as gateway:
            await gather([_ask(gateway, asked), note_refusals()])

    run_virtual(main())
    last = server.granted[-1][0]
    counted = [(1 if limit == "requests" else tokens) for at, tokens in server.granted if CALIBRATION <= at < last]
    used = sum(counted) / (last - CALIBRATION) * MINUTE
    refused = server.refusals.total() - refusals_at_first
    return _row(case.name, f"{limit}/min", allowed, used, refusals=refused)


def refused_row(share: float, *, minutes: int = MINUTES) -> Row:
    """What comes of a server that refuses so many calls whatever the rate, and tells nothing."""
    free, _ = _granted_per_second(OpenAIModel(), minutes)
    rate, refusals = _granted_per_second(OpenAIModel(refused_at_random=share), minutes)
    return _row(f"{share:.0%} refused at random", "answers/s", free * (1 - share), rate, refusals=refusals)


def limited_refused_row(share: float, *, told: bool, minutes: int = MINUTES) -> Row:
    """The same under a limit that is told by headers, or that the user has set."""
    limit = TIER_1.requests_per_minute
    assert limit is not None
    model = OpenAIModel(requests_per_minute=limit if told else None, shows_headers=told, refused_at_random=share)
    settings = LaneSettings(concurrency=SLOTS, requests_per_minute=None if told else limit)
    rate, refusals = _granted_per_second(model, minutes, settings)
    name = f"{share:.0%} refused at random, limit {'told' if told else 'set'}"
    return _row(name, "requests/min", limit * (1 - share), rate * MINUTE, refusals=refusals)


def _granted_per_second(model: OpenAIModel, minutes: int, settings: LaneSettings = FREE) -> tuple[float, int]:
    """And how many were refused, after the first minute."""
    server, end, refusals = SimulatedOpenAI(answer, model), MINUTE * minutes, list[int]()
    asked = [_request(CASES[0], number) for number in range(round(SLOTS / model.first_seconds * end))]

    async def main() -> None:
        async with Gateway([Lane("api", [server], settings)], store=MemoryStore()) as gateway:
            asking = asyncio.ensure_future(_ask(gateway, asked))
            for seconds in (CALIBRATION, end - CALIBRATION):
                await asyncio.sleep(seconds)
                refusals.append(server.refusals.total())
            asking.cancel()
            await asyncio.wait([asking])

    run_virtual(main())
    granted = sum(CALIBRATION <= at < end for at, _ in server.granted)
    return granted / (end - CALIBRATION), refusals[1] - refusals[0]


def _request(case: LimitCase, number: int) -> Request:
    system = Message("system", "You are an assistant who answers in a few words.")
    user = Message("user", f"Statement {number}: {filler(case.prompt_tokens)}")
    return Request(model=BASE, messages=(system, user), sampling=Sampling(max_tokens=case.max_tokens))


async def _ask(gateway: Gateway, requests: Sequence[Request]) -> None:
    await gateway.complete_many(requests, lane="api")


def _replicas_row(server: VLLMModel, count: int, requests: int, best_of_one: float) -> Row:
    """`auto` over several replicas, beside as many times the best rate of one."""
    rate = _rate(_answer_times(server, LaneSettings(), requests * count, replicas=count))
    return _row(f"auto, {count} replicas", "answers/s", count * best_of_one, rate)


def _change_row(name: str, old: VLLMModel, new: VLLMModel, requests: int, best: float, at: float) -> Row:
    times = _answer_times(old, LaneSettings(), 2 * requests, then=new, change_at=at)
    after = times[bisect_left(times, at) :]
    seconds = _seconds_until(after, NEAR * best)
    return _row(name, "answers/s", best, _rate(after), seconds=seconds)


def _best_rate(server: VLLMModel, requests: int, fixed: Sequence[int]) -> float:
    return max(_rate(_answer_times(server, LaneSettings(concurrency=limit), requests)) for limit in fixed)


def _answer_times(
    model: VLLMModel,
    settings: LaneSettings,
    requests: int,
    *,
    replicas: int = 1,
    then: VLLMModel | None = None,
    change_at: float = 0.0,
) -> list[float]:
    """When each answer was ready; the servers' parameters are `then` after `change_at` seconds."""
    servers = [SimulatedVLLM(answer, model, name=f"replica {number}") for number in range(replicas)]

    async def change() -> None:
        if then is not None:
            await asyncio.sleep(change_at)
            for server in servers:
                server.change(then)

    async def main() -> None:
        async with Gateway([Lane("api", servers, settings)], store=MemoryStore()) as gateway:
            await gather([_ask(gateway, _grouped(requests)), change()])

    run_virtual(main())
    return sorted(at for server in servers for at in server.answered_at)


def _grouped(count: int, *, group: int = 50) -> list[Request]:
    """Requests under many system prompts, those of one prompt next to each other."""
    return [
        Request(
            model=BASE,
            messages=(
                Message("system", f"{number // group} {filler(150)}"),
                Message("user", f"Statement {number % group}: {filler(60)}"),
            ),
            sampling=Sampling(max_tokens=128),
        )
        for number in range(count)
    ]


def _rate(times: Sequence[float]) -> float:
    """Answers per second over the part that counts."""
    first, last = (round(share * len(times)) for share in COUNTED)
    return (last - first) / (times[last] - times[first])


def _seconds_until(times: Sequence[float], rate: float) -> float | None:
    """Seconds after the change until a window of answers came at that rate; None if none did."""
    for start, _ in pairwise(times):
        first, last = bisect_left(times, start), bisect_left(times, start + WINDOW)
        if start + WINDOW <= times[-1] and (last - first) / WINDOW >= rate:
            return start - times[0]
    return None


def _row(
    case: str,
    unit: str,
    best: float,
    reached: float,
    *,
    refusals: int | None = None,
    seconds: float | None = None,
) -> Row:
    return {
        "case": case,
        "unit": unit,
        "limit or best": best,
        "reached": reached,
        "share": reached / best,
        "429": refusals,
        "seconds to 90%": seconds,
    }
