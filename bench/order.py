"""In which order a round's rows and candidates are best asked: early rejection against the server's prefix cache.

Bounds bite sooner where the rows that tell most come first and few are in flight beyond them; the prefix cache hits
more where the rows of one prompt pair follow each other. The whole engine runs with other priorities, on simulated
servers or on a real one. A real server gets the requests and computes its own answers, and the engine is told the
world's: so every order comes to the same selections, and nothing differs but what the order is worth.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from time import time_ns

import anyio

from metaspo.backends import OpenAICompatible, Reply, Request, Usage
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.defaults import SEEDS
from metaspo.bench.instant import Behind, InstantModel, OtherwiseAsked
from metaspo.bench.live import LiveTarget, hit_rate, prefix_counters
from metaspo.bench.report import Report, Row
from metaspo.bench.savings import LOOPS, SPREADS, Lever, prepare_run
from metaspo.bench.servers.simulated_openai import GPT_4O_MINI, SimulatedOpenAI
from metaspo.bench.servers.simulated_vllm import SimulatedVLLM, VLLMModel
from metaspo.bench.workload import Size
from metaspo.bench.world import World
from metaspo.engine import Prepared, RunReport, count_calls
from metaspo.engine.api import optimize
from metaspo.engine.runtime.priorities import LAST
from metaspo.scheduling import Lane, LaneSettings, Priority

LIVE_SIZE = Size(tasks=3, test=0, iterations=1, inner=0, keep=1, outer=6)
REJECTING = Lever(name="early rejection", early_rejection=True)
TIER = 3
SERVERS = {"one vLLM": VLLMModel(), "one vLLM, small cache": VLLMModel(kv_blocks=5_000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows that are asked together: a candidate's hard (part 0) or easy ones (part 1) on one node, up to 16.

    Attributes:
        number: of the batch among those of its candidate, part and node, from 1.
    """

    candidate: int
    part: int
    task: int
    prompt: int
    number: int


Order = Callable[[Batch], Priority]

ORDERS: Mapping[str, Order] = {
    "node by node, hard rows first": lambda b: (b.part, b.task, b.prompt, b.candidate),
    "the same, batch by batch": lambda b: (b.part, b.task, b.prompt, b.number, b.candidate),
    "node by node, all rows": lambda b: (b.task, b.prompt, b.part, b.candidate),
    "candidate by candidate, hard rows first": lambda b: (b.candidate, b.part, b.task, b.prompt),
    "candidate by candidate, node by node": lambda b: (b.candidate, b.task, b.prompt, b.part),
    "hard rows of all candidates, candidate by candidate": lambda b: (b.part, b.candidate, b.task, b.prompt),
    "as they come": lambda b: (),
}
OWN = next(iter(ORDERS))  # what the engine does
LIVE_ORDERS = {
    name: ORDERS[name]
    for name in (OWN, "candidate by candidate, hard rows first", "candidate by candidate, node by node")
}


class TooFewCalls(ValueError):
    """Not even one row of each task can be asked with so few calls."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a run under one order came to; `hits` is the share of prompt tokens found in the prefix cache."""

    calls: int
    server_seconds: float
    seconds: float
    hits: float | None


def measure_order(
    *,
    size: Size = LOOPS,
    seeds: int = SEEDS,
    spreads: Mapping[str, float] = SPREADS,
    servers: Mapping[str, VLLMModel] = SERVERS,
) -> Report:
    """Every order on simulated servers, in worlds with large and small differences; means over the seeds."""
    rows: list[Row] = []
    for kind, spread in spreads.items():
        for server, model in servers.items():
            for name, order in ORDERS.items():
                runs = [simulated(size, World(spread=spread, seed=seed), order, model) for seed in range(seeds)]
                rows.append({"differences": kind, "server": server, "order": name, **_means(runs)})
    return Report(
        scenario="order",
        title=f"The order of rows and candidates, simulated; means over {seeds} seeds, early rejection on",
        rows=rows,
        parameters={
            "worlds": {name: World(spread=spread).parameters() for name, spread in spreads.items()},
            **{name: asdict(model) for name, model in servers.items()},
        },
        notes=(f"The engine's own order is '{OWN}'.", "GPU s: in which the server had something to do."),
    )


async def measure_order_live(target: LiveTarget, *, concurrency: int, calls: int) -> Report:
    """Every order on a real server, in turn; all of them together ask it at most `calls` times.

    Raises:
        TooFewCalls: when they are not enough for one row of each task.
        BackendError, RunStopped: when the server cannot be used.
    """
    size = size_within(calls // len(LIVE_ORDERS))
    salt = f"{time_ns():x}"
    spread = SPREADS["large"]
    rows: list[Row] = []
    for number, (name, order) in enumerate(LIVE_ORDERS.items()):
        world = World(spread=spread, salt=f"[{salt}.{number}] ")
        run = await _live(target, size, world, order, concurrency=concurrency)
        rows.append({"order": name, **_means([run])})
    return Report(
        scenario="order",
        title=f"The order of rows and candidates on {target.model} at {target.url}",
        rows=rows,
        parameters={"concurrency": concurrency, "max_tokens": target.max_tokens, "world": world.parameters()},
        notes=(
            f"The engine's own order is '{OWN}'. Orders take turns once: repeat it to see how far figures scatter.",
            f"{_planned(size):,} calls each without early rejection: {size.tasks} tasks of {size.train} rows, "
            f"{size.outer} candidates. The answers that count are simulated, the server's own only take its time.",
        ),
    )


def size_within(calls: int) -> Size:
    """The largest run of the live kind that plans no more calls. Raises `TooFewCalls` if there is none."""
    train = calls // _planned(replace(LIVE_SIZE, train=1))
    if train < 1:
        raise TooFewCalls(f"{calls} calls for each order are too few for one row of {LIVE_SIZE.tasks} tasks")
    return replace(LIVE_SIZE, train=train)


def simulated(size: Size, world: World, order: Order, model: VLLMModel) -> Ordered:
    """One run on one simulated vLLM, with the concurrency that metaspo finds."""
    prepared = prepare_run(size, REJECTING, seed=world.seed)
    optimizer = GPT_4O_MINI[TIER]
    limits = LaneSettings(
        requests_per_minute=optimizer.requests_per_minute,
        tokens_per_minute=optimizer.tokens_per_minute,
        billing="tokens",
    )

    async def main() -> Ordered:
        vllm = SimulatedVLLM(world.answer, model)
        lanes = [
            Lane("base", [vllm], LaneSettings(max_concurrency=2 * model.max_num_seqs)),
            Lane("optimizer", [SimulatedOpenAI(world.answer, optimizer)], limits),
        ]
        async with _Reordered(lanes, order) as gateway:
            report = await optimize(prepared, gateway=gateway)
        did = vllm.statistics()
        return Ordered(
            report.usage.lanes["base"].calls, did.busy_seconds, asyncio.get_running_loop().time(), did.hit_rate
        )

    return run_virtual(main())


async def _live(target: LiveTarget, size: Size, world: World, order: Order, *, concurrency: int) -> Ordered:
    backend = _Played(OpenAICompatible(target.url, api_key=target.api_key), target, world)
    before = await prefix_counters(backend.base_url)
    lanes = [
        Lane("base", [backend], LaneSettings(concurrency=concurrency, patience=60.0, prices=target.prices)),
        Lane("optimizer", [InstantModel(world.answer)], LaneSettings(concurrency=64)),
    ]
    async with _Reordered(lanes, order) as gateway:
        started = anyio.current_time()
        report: RunReport = await optimize(_salted(size, world), gateway=gateway)
        seconds = anyio.current_time() - started
    hits = hit_rate(before, await prefix_counters(backend.base_url), backend.usages)
    return Ordered(report.usage.lanes["base"].calls, 0.0, seconds, hits)


def _salted(size: Size, world: World) -> Prepared:
    """The run with a first system prompt of its own, so that no order finds another's prefixes on the server, and a
    cap on its calls, retries included."""
    prepared = prepare_run(size, REJECTING, seed=world.seed)
    prompts = {"system_prompt": f"{world.salt}{prepared.config.system_prompt}"}
    optimizer = count_calls(prepared.config, prepared.tasks).optimizer
    cap = prepared.config.budget.model_copy(update={"calls": _planned(size) + optimizer})
    return replace(prepared, config=prepared.config.model_copy(update={**prompts, "budget": cap}))


def _planned(size: Size) -> int:
    prepared = prepare_run(size, REJECTING, seed=0)
    return count_calls(prepared.config, prepared.tasks).base


def _means(runs: Sequence[Ordered]) -> Row:
    hits = [run.hits for run in runs if run.hits is not None]
    seconds = fmean(run.server_seconds for run in runs)
    return {
        "calls": round(fmean(run.calls for run in runs)),
        **({"GPU s": seconds} if seconds else {}),
        "seconds": fmean(run.seconds for run in runs),
        "prefix hits": fmean(hits) if hits else None,
    }


class _Reordered(OtherwiseAsked):
    """Gives the evaluations of a round another priority."""

    def __init__(self, lanes: Sequence[Lane], order: Order) -> None:
        super().__init__(lanes)
        self._order = order
        self._batches: Counter[Priority] = Counter()

    def asked(self, requests: Sequence[Request], priority: Priority) -> tuple[Sequence[Request], Priority]:
        """The same in the order under test."""
        *place, iteration, phase, part, task, prompt, candidate = priority
        if 0 < iteration < LAST:
            self._batches[priority] += 1
            batch = Batch(candidate=candidate, part=part, task=task, prompt=prompt, number=self._batches[priority])
            priority = (*place, iteration, phase, *self._order(batch))
        return requests, priority


class _Played(Behind):
    """A real server as a backend that is asked, while what it says is replaced by the world's answer.

    Attributes:
        usages: of its own answers.
    """

    def __init__(self, server: OpenAICompatible, target: LiveTarget, world: World) -> None:
        super().__init__(server)
        self.base_url = server.base_url
        self.usages: list[Usage] = []
        self._target = target
        self._world = world

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Ask, and hand on the other answer."""
        sampling = replace(request.sampling, max_tokens=self._target.max_tokens)
        sent = replace(request, model=self._target.model, sampling=sampling)
        reply = await super().complete(sent, time_limit=time_limit)
        self.usages.append(reply.completion.usage)
        return reply._replace(completion=reply.completion._replace(text=self._world.answer(request)))
