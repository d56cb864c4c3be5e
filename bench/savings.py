"""What metaspo does not ask: calls and dollars with and without each of its savings, on worlds with known qualities.

Whole runs on virtual time, against a simulated API that is paid by token and a simulated vLLM that is paid by the hour.
Levers are switched on one after the other: equal requests once, early rejection, racing. The first two are exact: they
must come to the selections that full scoring comes to, and it is checked that they do.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from statistics import fmean
from typing import Any, Literal

from metaspo.backends import Request, model_facts
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.defaults import SEEDS
from metaspo.bench.instant import OtherwiseAsked
from metaspo.bench.report import Figure, Report, Row
from metaspo.bench.servers.simulated_openai import GPT_4O_MINI, SimulatedOpenAI
from metaspo.bench.servers.simulated_vllm import SimulatedVLLM, VLLMModel
from metaspo.bench.workload import Size, make_run
from metaspo.bench.world import World
from metaspo.cache import MemoryStore
from metaspo.engine import Prepared, RunConfig, RunResult, selections
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.runs.session import make_context
from metaspo.scheduling import Gateway, Lane, LaneSettings, Prices, Priority

LOOPS = Size(test=0)  # of the paper's size without the test splits, which nothing but deduplication can save on
SMALL = Size(tasks=2, train=20, test=0, iterations=2, inner=2, keep=2, outer=4)
RACING_ERROR = 0.05
TIER = 3
SPREADS = {"large": 0.08, "small": 0.01}

Server = Literal["api", "vllm"]
Selections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """What is switched on."""

    name: str
    once: bool = True
    early_rejection: bool = False
    racing: float | None = None


LEVERS = (
    Lever(name="none", once=False),
    Lever(name="equal requests once"),
    Lever(name="+ early rejection", early_rejection=True),
    Lever(name="+ racing", early_rejection=True, racing=RACING_ERROR),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one run came to.

    Attributes:
        calls, dollars: of the base model. server_seconds: in which the simulated vLLM was busy, 0 with the API.
        quality: the true one of the prompts selected, mean over the tasks.
    """

    calls: int
    dollars: float
    server_seconds: float
    seconds: float
    quality: float
    selections: Selections


def measure_savings(*, size: Size = LOOPS, seeds: int = SEEDS) -> Report:
    """Every lever in every world, with both kinds of server; means over the seeds."""
    rows: list[Row] = []
    servers: tuple[Server, ...] = ("api", "vllm")
    for (kind, spread), server in product(SPREADS.items(), servers):
        worlds = [World(spread=spread, seed=seed) for seed in range(seeds)]
        runs = {lever.name: [spend(size, world, lever, server=server) for world in worlds] for lever in LEVERS}
        rows.extend(_row(kind, server, lever, runs) for lever in LEVERS)
    return Report(
        scenario="savings",
        title=f"Base-model calls of a run's loops, simulated; means over {seeds} seeds",
        rows=rows,
        parameters={
            "worlds": {name: World(spread=spread).parameters() for name, spread in SPREADS.items()},
            "simulated GPT-4o mini": asdict(GPT_4O_MINI[TIER]),
            "one simulated vLLM": asdict(VLLMModel()),
        },
        notes=(
            "dollars: GPT-4o mini as base model, at its list prices; GPU s: in which the vLLM had something to do.",
            "same selections: rounds that select what full scoring selects, of those up to the first that does not.",
            "quality: the true one of the prompts selected, the mean over the tasks; not known to the run.",
            "Test splits are left out: none of the levers but the first could save there.",
        ),
    )


def spend(size: Size, world: World, lever: Lever, *, server: Server) -> Spent:
    """One whole run on virtual time."""
    prepared = prepare_run(size, lever, seed=world.seed)

    async def main() -> Spent:
        lanes, vllm = _lanes(world, server)
        journal = MemoryJournal()
        async with Gateway(lanes, store=MemoryStore()) if lever.once else _EachApart(lanes) as gateway:
            scope = make_context(prepared, gateway, journal=journal)
            result = await run(scope)
            use = scope.account.statistics().lanes["base"]
            return Spent(
                calls=use.calls,
                dollars=use.dollars,
                server_seconds=vllm.statistics().busy_seconds if vllm else 0.0,
                seconds=asyncio.get_running_loop().time(),
                quality=true_quality(world, result),
                selections=selections(journal.events),
            )

    return run_virtual(main())


def prepare_run(size: Size, lever: Lever, *, seed: int) -> Prepared:
    """The run with the lever's settings."""
    prepared = make_run(size)
    changes: dict[str, object] = {"seed": seed, "early_rejection": lever.early_rejection, "racing": lever.racing}
    config = RunConfig.model_validate(prepared.config.model_dump(exclude_unset=True) | changes)
    return replace(prepared, config=config)


def true_quality(world: World, result: RunResult) -> float:
    """What the selected prompts are worth: the mean over the tasks, each with its best user prompt."""
    return fmean(world.quality(result.system_prompt, prompts[0]) for prompts in result.user_prompts.values())


def same_rounds(full: Selections, levered: Selections) -> tuple[int, int]:
    """Rounds with equal selections, and rounds that can be compared: all up to the first stage that differs.

    The rounds of one stage (the inner loops of an iteration) do not depend on each other, later stages on all of it.
    """
    same = compared = 0
    stages: dict[tuple[str, ...], list[str]] = {}
    for address in full:
        stages.setdefault(tuple(address.split("/")[:2]), []).append(address)
    for addresses in stages.values():
        equal = sum(_chosen(levered.get(address)) == _chosen(full[address]) for address in addresses)
        same += equal
        compared += len(addresses)
        if equal < len(addresses):
            break
    return same, compared


def _chosen(selection: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A selection without who was raced out, which says nothing of what was selected."""
    return selection and {name: value for name, value in selection.items() if name != "raced_out"}


def _row(kind: str, server: Server, lever: Lever, runs: Mapping[str, Sequence[Spent]]) -> dict[str, Figure]:
    levered, none, full = runs[lever.name], runs[LEVERS[0].name], runs[LEVERS[1].name]
    calls, before = fmean(run.calls for run in levered), fmean(run.calls for run in none)
    rounds = [same_rounds(exhaustive.selections, run.selections) for exhaustive, run in zip(full, levered, strict=True)]
    same, compared = (sum(column) for column in zip(*rounds, strict=True))
    if same < compared and lever.racing is None:
        raise AssertionError(f"{lever.name} is exact and yet changed a selection ({kind} differences, {server})")
    return {
        "differences": kind,
        "server": server,
        "levers": lever.name,
        "calls": round(calls),
        "saved": 1 - calls / before,
        "dollars": fmean(run.dollars for run in levered) if server == "api" else None,
        "GPU s": fmean(run.server_seconds for run in levered) if server == "vllm" else None,
        "seconds": fmean(run.seconds for run in levered),
        "same selections": same / compared,
        "quality": fmean(run.quality for run in levered),
    }


def _lanes(world: World, server: Server) -> tuple[list[Lane], SimulatedVLLM | None]:
    optimizer = Lane("optimizer", [SimulatedOpenAI(world.answer, GPT_4O_MINI[TIER])], _api_settings())
    if server == "api":
        even = replace(GPT_4O_MINI[TIER], spread=1.0)  # none is slow for its size, and asked beside, which is no lever
        return [Lane("base", [SimulatedOpenAI(world.answer, even)], _api_settings()), optimizer], None
    vllm = SimulatedVLLM(world.answer)
    return [Lane("base", [vllm], LaneSettings(max_concurrency=2 * vllm.model.max_num_seqs)), optimizer], vllm


def _api_settings() -> LaneSettings:
    model, facts = GPT_4O_MINI[TIER], model_facts("gpt-4o-mini")
    assert facts is not None
    cached = facts.input_price if facts.cached_input_price is None else facts.cached_input_price
    return LaneSettings(
        requests_per_minute=model.requests_per_minute,
        tokens_per_minute=model.tokens_per_minute,
        prices=Prices(input=facts.input_price, cached=cached, output=facts.output_price),
        billing="tokens",
    )


class _EachApart(OtherwiseAsked):
    """Asks every evaluation anew, as if no two were alike: each is another draw."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        super().__init__(lanes)
        self._asked = 0

    def asked(self, requests: Sequence[Request], priority: Priority) -> tuple[Sequence[Request], Priority]:
        """The same, with each request made different."""
        numbered = [replace(request, draw=self._asked + number) for number, request in enumerate(requests, start=1)]
        self._asked += len(requests)
        return numbered, priority
