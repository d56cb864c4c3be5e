"""How long a run takes on simulated servers, beside other schedules of the same work and the least that any can take.

Everything runs on virtual time, so figures are the same on every machine, to the digit.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from metaspo.backends import Backend
from metaspo.backends.virtual_time import run_virtual
from metaspo.bench.lower_bound import BoundFinder
from metaspo.bench.report import Report, Row
from metaspo.bench.schedules import OPTIMIZER_AT_ONCE, Asker, Schedule, one_by_one, with_barriers
from metaspo.bench.simulated_openai import GPT_4O_MINI, OpenAIModel, SimulatedOpenAI
from metaspo.bench.simulated_vllm import SimulatedVLLM, VLLMModel
from metaspo.bench.work import Stage, work_of
from metaspo.bench.workload import PAPER, Size, answer, make_run
from metaspo.cache import MemoryStore
from metaspo.engine.api import optimize
from metaspo.engine.gather import gather
from metaspo.scheduling import Gateway, Lane, LaneSettings

REPLICAS = (1, 4, 16)
TIERS = (1, 3, 5)
DOMAINS = 5  # runs in one process, each on tasks of its own
DOMAINS_TIER = 3
OVERFULL = 1.25  # times the places on the servers: what a user who knows them would set
SERVER_LIMITED = 0.8  # share of the bound that is the servers' own work

Concurrency = int | Literal["auto"]


def measure_makespan(
    *,
    size: Size = PAPER,
    replicas: Sequence[int] = REPLICAS,
    tiers: Sequence[int] = TIERS,
    domains: int = DOMAINS,
    server: VLLMModel | None = None,
) -> Report:
    """Every number of replicas with every usage tier, for one run; and for several at once, on tier 3, if `domains` is
    more than one."""
    server = server or VLLMModel()
    names = [f"domain{number}." for number in range(1, domains)]
    works = {name: asyncio.run(work_of(make_run(size, domain=name))) for name in ("", *names)}
    single = {"": works[""]}
    rows = [_cell(size, single, server, count, tier) for count in replicas for tier in tiers]
    if domains > 1:
        rows.extend(_cell(size, works, server, count, DOMAINS_TIER) for count in replicas)
    units = [unit for stage in works[""] for unit in stage.units]
    evaluations, calls = sum(len(unit.evaluations) for unit in units), sum(len(unit.optimizer) for unit in units)
    return Report(
        scenario="makespan",
        title=f"Makespan, simulated: runs of {evaluations:,} evaluations on vLLM, {calls:,} calls to GPT-4o mini",
        rows=rows,
        parameters={
            "one simulated vLLM": server.as_data(),
            **{f"simulated GPT-4o mini, tier {tier}": GPT_4O_MINI[tier].as_data() for tier in tiers},
        },
        notes=(
            "Times over the bound, which no schedule can beat: 1.00 is the best there can be.",
            f"fixed: {OVERFULL} times the places on the servers and {OPTIMIZER_AT_ONCE} optimizer calls at once; "
            "auto: both found by metaspo.",
            "barriers: gather with semaphores of those sizes and a barrier after each kind of call; "
            "one by one: the reference's batches of 50. These two do several runs one after the other.",
            f"Servers are the limit where their share of the bound is at least {SERVER_LIMITED:.0%}; "
            "the rest is waiting for the optimizer model, in which no work is there to be done.",
        ),
    )


def _cell(size: Size, works: Mapping[str, Sequence[Stage]], server: VLLMModel, replicas: int, tier: int) -> Row:
    """One row, for a run on each of the domains at once."""
    optimizer = GPT_4O_MINI[tier]
    finder = BoundFinder(server=server, replicas=replicas, optimizer=optimizer, answer=answer)
    stages = [stage for work in works.values() for stage in work]
    bound = finder.together(list(works.values())) if len(works) > 1 else finder.bound(stages)
    places = round(OVERFULL * replicas * server.max_num_seqs)
    run = partial(ours, size, server=server, replicas=replicas, optimizer=optimizer, domains=tuple(works))
    fixed, auto = run(concurrency=places), run(concurrency="auto")
    barriers = theirs(with_barriers, stages, server=server, replicas=replicas, optimizer=optimizer, at_once=places)
    reference = theirs(one_by_one, stages, server=server, replicas=replicas, optimizer=optimizer, at_once=places)
    return {
        "runs": len(works),
        "replicas": replicas,
        "tier": tier,
        "bound s": bound.seconds,
        "servers' share": bound.server_seconds / bound.seconds,
        "ours fixed s": fixed,
        "ours fixed": fixed / bound.seconds,
        "ours auto": auto / bound.seconds,
        "barriers": barriers / bound.seconds,
        "one by one": reference / bound.seconds,
    }


def ours(
    size: Size,
    *,
    server: VLLMModel,
    replicas: int,
    optimizer: OpenAIModel,
    concurrency: Concurrency,
    domains: Sequence[str] = ("",),
) -> float:
    """Virtual seconds of the whole engine, with a run on each of the domains at once."""

    async def main() -> float:
        servers = _servers(server, replicas)
        provider = SimulatedOpenAI(answer, optimizer)
        lanes = lanes_over(servers, provider, concurrency=concurrency, server=server, model=optimizer)
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            await gather(optimize(make_run(size, domain=domain), gateway=gateway) for domain in domains)
            return asyncio.get_running_loop().time()

    return run_virtual(main())


def lanes_over(
    servers: Sequence[Backend], provider: Backend, *, concurrency: Concurrency, server: VLLMModel, model: OpenAIModel
) -> list[Lane]:
    """The lanes of a run: its servers, so many calls at once, and an optimizer model within its provider's limits."""
    base = LaneSettings(concurrency=concurrency, max_concurrency=2 * server.max_num_seqs)
    limits = LaneSettings(
        concurrency="auto" if concurrency == "auto" else OPTIMIZER_AT_ONCE,
        requests_per_minute=model.requests_per_minute,
        tokens_per_minute=model.tokens_per_minute,
        requests_per_day=model.requests_per_day,
        billing="tokens",
    )
    return [Lane("base", servers, base), Lane("optimizer", [provider], limits)]


def theirs(
    schedule: Schedule,
    stages: Sequence[Stage],
    *,
    server: VLLMModel,
    replicas: int,
    optimizer: OpenAIModel,
    at_once: int,
) -> float:
    """Virtual seconds of the same work under another schedule."""

    async def main() -> float:
        asker = Asker(_servers(server, replicas), SimulatedOpenAI(answer, optimizer), at_once=at_once)
        await schedule(asker, stages)
        return asyncio.get_running_loop().time()

    return run_virtual(main())


def _servers(model: VLLMModel, count: int) -> list[SimulatedVLLM]:
    return [SimulatedVLLM(answer, replace(model), name=f"vllm-{number}") for number in range(1, count + 1)]
