"""One run of a method in a world in which it is known what a prompt is worth, on virtual time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from metaspo.backends import Request, Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.known_truth.method_peers import TRAIN, Peer
from metaspo.bench.known_truth.method_shapes import Changes
from metaspo.bench.known_truth.peer_models import LARGE_PRICES, SMALL_PRICES, SYSTEM
from metaspo.bench.known_truth.pushes import pushed_to
from metaspo.bench.known_truth.world import World, prepare
from metaspo.bench.known_truth.writer import Writer
from metaspo.cache import MemoryStore
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.runs.session import make_context
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.studies.generalize import induce_user_prompts
from metaspo.engine.tasks import Task
from metaspo.scheduling import Gateway, Lane, LaneSettings

TEST, INDUCED = 40, 4
WRITERS: Mapping[str, Mapping[str, float]] = {
    "plain": {},
    "rambles": {"rambles": 0.4},
    "quotes": {"echoes": 0.4},
    "tactless": {"tact": 0.2},
    "pushes": {"pushes": 0.8},
    "heedless": {"pushes": 0.8, "heeds": 0.0},
}
"""Optimizer models: one that keeps to its level mostly, and such as fall into a trap more often than not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run in a world: of ours with changes to a config, or of another package."""

    world: World
    calls: int
    changes: Changes | Peer
    writer: str = "plain"


class SearchEnd(NamedTuple):
    """What a search ended with; the attributes are those of `MethodRun`."""

    system: str
    users: Mapping[str, str]
    base: int
    optimizer: int
    dollars: float
    gained: float | None = None
    luck: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRun:
    """What a run came to.

    Attributes:
        source, unseen: the mean chance of being right, in truth.
        shared: what unseen tasks would come to under a system prompt of all that tasks share, and nothing else.
        base, optimizer: calls on train splits, and of the optimizer model.
        dollars: of both.
        gained, luck: on the train examples that prompts were chosen by, and how much of it is luck by the result; None
            of another package.
        truly: the gain since the first prompts in truth.
        written, found: of the prompts that were written from answers, and of those that were found, the share that
            pushes to a label.
    """

    source: float
    unseen: float
    shared: float
    base: int
    optimizer: int
    dollars: float
    gained: float | None = None
    luck: float | None = None
    truly: float = 0.0
    written: float = 0.0
    found: float = 0.0


def run_method(job: Job) -> MethodRun:
    """One run, on virtual time."""
    return run_virtual(_run(job))


async def _run(job: Job) -> MethodRun:
    world, pushing = job.world, list[bool]()
    changes: Mapping[str, Any] = {} if isinstance(job.changes, Peer) else job.changes
    untested = {"test": {"source": "none", "baseline": False}, "iterations": 1}
    prepared = prepare(world, {**untested, **changes}, train=TRAIN, test=TEST)
    async with Gateway(_lanes(job, pushing), store=MemoryStore()) as gateway:
        context = make_context(prepared, gateway)
        if isinstance(job.changes, Peer):
            search = _by_peer(job.changes, job, [task for task in prepared.tasks if task.role == "source"])
        else:
            search = await _by_us(context)
        unseen = await induce_user_prompts(context, count=INDUCED)
    sources = context.sources
    first = world.worth(context.config.system_prompt, {task.name: [task.user_prompt] for task in sources}, sources)
    source = world.worth(search.system, {task: [user] for task, user in search.users.items()}, sources)
    return MethodRun(
        source=source,
        unseen=world.worth(search.system, unseen, context.targets),
        shared=world.worth(world.shared_prompt, unseen, context.targets),
        base=search.base,
        optimizer=search.optimizer,
        dollars=search.dollars,
        gained=search.gained,
        luck=search.luck,
        truly=source - first,
        written=fmean(pushing or [False]),
        found=fmean(bool(pushed_to(prompt)) for prompt in (search.system, *search.users.values())),
    )


def _lanes(job: Job, pushing: list[bool]) -> list[Lane]:
    """Both models; `pushing` gets whether it pushes to a label of each prompt that is written from answers."""
    writer = Writer(job.world, **WRITERS[job.writer])

    def write(request: Request) -> str:
        text = writer.answer(request)
        if "_prompt>" in text and "<pair>" not in request.messages[-1].content:
            pushing.append(bool(pushed_to(text)))
        return text

    models = {"base": (job.world.base, SMALL_PRICES), "optimizer": (write, LARGE_PRICES)}
    return [
        Lane(name, [Simulated(answer, latency=1.0)], LaneSettings(concurrency=16, prices=prices))
        for name, (answer, prices) in models.items()
    ]


def _by_peer(peer: Peer, job: Job, sources: Sequence[Task]) -> SearchEnd:
    texts, took = peer.optimize(job.world, sources, job.calls)
    users = {task.name: texts[task.name] for task in sources}
    return SearchEnd(texts[SYSTEM], users, took.base, took.optimizer, took.dollars)


async def _by_us(context: RunContext) -> SearchEnd:
    result = await run(context)
    use = context.account.statistics()
    return SearchEnd(
        result.system_prompt,
        {task: kept[0] for task, kept in result.user_prompts.items()},
        base=use.lanes["base"].calls - sum(len(task.test) for task in context.targets),
        optimizer=use.lanes["optimizer"].calls if "optimizer" in use.lanes else 0,
        dollars=use.total.dollars or 0.0,
        gained=result.train_after - result.train_before,
        luck=result.user_luck,
    )
