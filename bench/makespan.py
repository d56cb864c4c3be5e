"""How long a run takes on simulated servers, beside other schedules of the same work and the least that any can take.

Everything runs on virtual time, so figures are the same on every machine, to the digit.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from statistics import fmean
from typing import Literal

from metaspo.backends import Backend
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.defaults import DOMAINS
from metaspo.bench.lower_bound import BoundFinder
from metaspo.bench.measure import half_width
from metaspo.bench.report import Figure, Report, Row
from metaspo.bench.schedules import OPTIMIZER_AT_ONCE, Asker, Schedule, one_by_one, with_barriers
from metaspo.bench.servers.simulated_openai import GPT_4O_MINI, OpenAIModel, SimulatedOpenAI
from metaspo.bench.servers.simulated_vllm import SimulatedVLLM, VLLMModel
from metaspo.bench.work import Stage, work_of
from metaspo.bench.workload import PAPER, Size, answer, make_run
from metaspo.cache import MemoryStore
from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import model_of
from metaspo.engine.config.plan import Pace
from metaspo.engine.gather import gather
from metaspo.engine.prompts import PromptPair, render
from metaspo.engine.runs.execute import run_prepared
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.studies.needs import Need
from metaspo.engine.studies.scale import at_scales
from metaspo.scheduling import Gateway, Lane, LaneSettings

REPLICAS = (1, 4, 16)
TIERS = (1, 3, 5)
DOMAINS_TIER = 3
OVERFULL = 1.25  # times the places on the servers: what a user who knows them would set
FILL = 8  # times as many answers as a server has places: what tells its speed
SAME = ("runs", "replicas", "tier")  # of all draws of a cell
SERVER_LIMITED = 0.8  # share of the bound that is the servers' own work

Concurrency = int | Literal["auto"]


def measure_makespan(
    *,
    size: Size = PAPER,
    replicas: Sequence[int] = REPLICAS,
    tiers: Sequence[int] = TIERS,
    domains: int = DOMAINS,
    draws: int = 1,
    server: VLLMModel | None = None,
) -> Report:
    """Every number of replicas with every usage tier, for one run; and for several at once, on tier 3, if `domains` is
    more than one. Each is the mean over so many draws of the work: other texts, answers and latencies."""
    server = server or VLLMModel()

    def row(count: int, tier: int, runs: int) -> Row:
        cells = [_cell(size, _drawn(size, runs, draw), server, count, tier) for draw in range(draws)]
        return _mean(cells) if draws > 1 else cells[0]

    rows = [row(count, tier, 1) for count in replicas for tier in tiers]
    if domains > 1:
        rows.extend(row(count, DOMAINS_TIER, domains) for count in replicas)
    units = [unit for stage in _work(size, 0) for unit in stage]
    evaluations, calls = sum(len(unit.evaluations) for unit in units), sum(len(unit.optimizer) for unit in units)
    return Report(
        scenario="makespan",
        title=f"Makespan, simulated: runs of {evaluations:,} evaluations on vLLM, {calls:,} calls to GPT-4o mini",
        rows=rows,
        parameters={
            "one simulated vLLM": asdict(server),
            **{f"simulated GPT-4o mini, tier {tier}": asdict(GPT_4O_MINI[tier]) for tier in tiers},
        },
        notes=(
            "Times over the bound, which no schedule can beat: 1.00 is the best there can be.",
            f"Draws of the work: {draws}; where they are more than one, figures are means, with half of their 95% "
            "interval beside them.",
            f"fixed: {OVERFULL} times the places on the servers and {OPTIMIZER_AT_ONCE} optimizer calls at once; "
            "auto: both found by metaspo.",
            "barriers: gather with semaphores of those sizes and a barrier after each kind of call; "
            "one by one: the reference's batches of 50. These two do several runs one after the other.",
            "planned: what `metaspo plan --replicas … --tier …` says at least and at most, told how many answers a "
            "second a full server gives, and how long a call of the optimizer model is and takes.",
            f"Servers are the limit where their share of the bound is at least {SERVER_LIMITED:.0%}; "
            "the rest is waiting for the optimizer model, in which no work is there to be done.",
        ),
    )


def _drawn(size: Size, runs: int, draw: int) -> dict[str, Sequence[Stage]]:
    """The works of runs that go on at once, by the names of their domains, which no other draw has."""
    return {_domain(number): _work(size, number) for number in range(draw * runs, (draw + 1) * runs)}


def _domain(number: int) -> str:
    return f"domain{number}." if number else ""


@cache
def _work(size: Size, number: int) -> Sequence[Stage]:
    return asyncio.run(work_of(make_run(size, domain=_domain(number))))


def _mean(cells: Sequence[Row]) -> Row:
    """The means of one cell's draws, and how far the true mean of ours may be from them."""
    row: dict[str, Figure] = {}
    for name in cells[0]:
        values = [float(cell[name] or 0) for cell in cells]
        row[name] = cells[0][name] if name in SAME else fmean(values)
        if name in ("ours fixed", "ours auto"):
            row[f"± {name}"] = half_width(values)
    return row


def _cell(size: Size, works: Mapping[str, Sequence[Stage]], server: VLLMModel, replicas: int, tier: int) -> Row:
    """One row, for a run on each of the domains at once."""
    optimizer = GPT_4O_MINI[tier]
    finder = BoundFinder(server=server, replicas=replicas, optimizer=optimizer, answer=answer)
    stages = [stage for work in works.values() for stage in work]
    bound = finder.together(list(works.values())) if len(works) > 1 else finder.bound(stages)
    places = round(OVERFULL * replicas * server.max_num_seqs)
    run = partial(ours, size, server=server, replicas=replicas, optimizer=optimizer, domains=tuple(works))
    fixed, auto = run(concurrency=places), run(concurrency="auto")
    seconds, call = finder.mean_call(stages)
    pace = Pace(
        speed=answers_a_second(server),
        answer_tokens=1,
        optimizer_seconds=seconds,
        optimizer_prompt_tokens=call.prompt_tokens,
        optimizer_answer_tokens=call.completion_tokens,
    )
    least, most = planned(size, pace, replicas=replicas, tier=tier, domains=tuple(works))
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
        "planned least": least / bound.seconds,
        "planned most": most / bound.seconds,
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
            runs = [make_run(size, domain=domain) for domain in domains]
            await gather(
                run_prepared(run, gateway, LaneNames(turn=turn), observer=Observer()) for turn, run in enumerate(runs)
            )
            return asyncio.get_running_loop().time()

    return run_virtual(main())


def planned(size: Size, pace: Pace, *, replicas: int, tier: int, domains: Sequence[str] = ("",)) -> tuple[float, float]:
    """Seconds at least and at most, as `metaspo plan` has them."""
    runs = [make_run(size, domain=domain) for domain in domains]
    optimizer = ModelTable(backend="openai", model="gpt-4o-mini", max_tokens=1024)
    configs = [run.config.model_copy(update={"optimizer": optimizer}) for run in runs]
    needs = [
        Need(name=config.name, config=config, tasks=run.tasks, calls=count_calls(config, run.tasks))
        for config, run in zip(configs, runs, strict=True)
    ]
    (scale,) = at_scales(needs, replicas=[replicas], tiers=[tier], pace=pace, parallel=len(needs))
    return 3600 * scale.least, 3600 * scale.most


@cache
def answers_a_second(model: VLLMModel) -> float:
    """Of one simulated server that has all it can take, of one prompt."""
    run, count = make_run(Size(tasks=1, train=FILL * model.max_num_seqs, test=1)), FILL * model.max_num_seqs

    async def main() -> float:
        (server,) = _servers(model, 1)
        base = model_of(run.config.base)
        pair = PromptPair(run.config.system_prompt, run.tasks[0].user_prompt)
        requests = [base.request(render(pair, example)) for example in run.tasks[0].train]
        settings = LaneSettings(concurrency=round(OVERFULL * model.max_num_seqs))
        async with Gateway([Lane("base", [server], settings)], store=MemoryStore()) as gateway:
            await gateway.complete_many(requests, lane="base")
            return count / asyncio.get_running_loop().time()

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
