"""What each method finds for how many calls, in worlds in which it is known what a prompt is worth.

Whole runs on virtual time against the models of the known-truth worlds (docs/known-truth.md). Every method gets equal
base calls on train splits (`train_calls`), the same train examples and the same optimizer model, and is judged by the
true chance of being right under what it found: on its source tasks with their best user prompts, and on unseen tasks
under user prompts that are induced for them and know nothing of the system prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any

from metaspo.backends import Request, Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.defaults import FIRST_SEED
from metaspo.bench.known_truth.method_peers import TRAIN, Peer
from metaspo.bench.known_truth.method_shapes import METHODS, REFERENCE, Changes, changed
from metaspo.bench.known_truth.peer_models import LARGE_PRICES, SMALL_PRICES, SYSTEM
from metaspo.bench.known_truth.pushes import LEANING, pushed_to
from metaspo.bench.known_truth.world import World, prepare
from metaspo.bench.known_truth.writer import Writer
from metaspo.bench.report import Figure, Report, Row
from metaspo.cache import MemoryStore
from metaspo.engine.config.checks import check_config, check_optimizable
from metaspo.engine.config.toml import as_toml
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.runs.session import make_context
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.statistics import OverSeeds, over_seeds
from metaspo.engine.studies.generalize import induce_user_prompts
from metaspo.scheduling import Gateway, Lane, LaneSettings

CALLS = (500, 2_000, 6_000)
TEST, INDUCED = 40, 4
WORLDS: Mapping[str, Mapping[str, Any]] = {
    "added up": {"distraction": 0.0},
    "entangled": {"distraction": 0.0, "entangled": True},
    "distraction": {"distraction": 0.02},
    "added up, no noise": {"distraction": 0.0, "noise": False},
    "entangled, no noise": {"distraction": 0.0, "entangled": True, "noise": False},
    "distraction, no noise": {"distraction": 0.02, "noise": False},
}
APART: Mapping[str, Mapping[str, Any]] = {
    "apart": {"distraction": 0.0, "shared": False},
    "apart, distraction": {"distraction": 0.02, "shared": False},
}
"""Worlds in which no two tasks have a skill in common: a system prompt brings nothing to unseen tasks, or harm."""
FICKLE: Mapping[str, Mapping[str, Any]] = {
    "fickle": {"distraction": 0.0, "fickle": True},
    "fickle, worse": {"distraction": 0.0, "fickle": True, "worse": 0.05},
    "fickle, helped": {"distraction": 0.0, "fickle": True, "helped": 0.15},
}
"""Worlds in which hardly anything that a prompt names helps, and each wording is better or worse by itself."""
KINDS: Mapping[str, Mapping[str, Any]] = {**WORLDS, **APART, **FICKLE}
SEARCHES = ("inner", "outer", "rows", "racing", "early_rejection", "stop_below", "redraws", "roles", "ties")
"""Keys of a config, or tables, that a method may have otherwise: models, data, calls and caps are the comparison's."""
WRITERS: Mapping[str, Mapping[str, float]] = {
    "plain": {},
    "rambles": {"rambles": 0.4},
    "quotes": {"echoes": 0.4},
    "tactless": {"tact": 0.2},
    "pushes": {"pushes": 0.8},
    "heedless": {"pushes": 0.8, "heeds": 0.0},
}
"""Optimizer models: one that keeps to its level mostly, and such as fall into a trap more often than not."""
LEANS: Mapping[str, float] = {name: LEANING for name, traps in WRITERS.items() if "pushes" in traps}
"""How much the worlds lean to one of two labels, by optimizer model: where it pushes to labels, there are such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run in a world: of ours with changes to a config, or of another package."""

    world: World
    calls: int
    changes: Changes | Peer
    writer: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run came to.

    Attributes:
        source, unseen: the mean chance of being right, in truth.
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
    base: int
    optimizer: int
    dollars: float
    gained: float | None = None
    luck: float | None = None
    truly: float = 0.0
    written: float = 0.0
    found: float = 0.0


def measure_methods(
    *,
    seeds: int = 20,
    calls: Sequence[int] = CALLS,
    methods: Iterable[str] = (),
    worlds: Iterable[str] = WORLDS,
    first_seed: int = FIRST_SEED,
    jobs: int = 1,
    peers: Mapping[str, Peer] | None = None,
    writer: str = "plain",
    sets: Mapping[str, Any] | None = None,
) -> Report:
    """Every method at every number of calls in every world, peers among them; all methods if none are named.

    `sets`: dotted keys to values; metaspo+ with these is a further method, and the only one if none are named.
    """
    peers, sets = peers or {}, sets or {}
    ours = {**METHODS, **({name_of(sets): partial(changed, sets=sets)} if sets else {})}
    asked_for = [*(methods or ([] if sets else [*METHODS, *peers])), *(name for name in ours if name not in METHODS)]
    names, chosen = [REFERENCE, *(name for name in asked_for if name != REFERENCE)], list(worlds)
    numbers, leant = range(first_seed, first_seed + seeds), LEANS.get(writer, 0.0)
    cells = list(product(calls, chosen, names))
    asked = [
        Job(
            world=World(seed, **KINDS[kind], leaning=leant),
            calls=count,
            changes=ours[name](count) if name in ours else peers[name],
            writer=writer,
        )
        for count, kind, name in cells
        for seed in numbers
    ]
    with ProcessPoolExecutor(jobs) as pool:
        results = list(pool.map(find, asked, chunksize=4))
    by_cell = {cell: results[number * seeds : (number + 1) * seeds] for number, cell in enumerate(cells)}
    shown = [(count, kind, name) for count in calls for kind in (*chosen, "all") for name in names]
    rows = [
        {
            **row_of(by_cell, count, chosen, kind, name),
            **(_pushing(by_cell, count, chosen, kind, name) if leant else {}),
        }
        for count, kind, name in shown
    ]
    return Report(
        scenario="methods" if writer == "plain" else f"methods --writer {writer}",
        title=f"True ability by method and base calls, simulated; {seeds} seeds from {first_seed}",
        rows=rows,
        notes=(
            "source: chance of being right on the source tasks, in points; unseen: on others, under induced prompts.",
            f"ahead: how far {REFERENCE} is ahead of the method, with its 95% interval over seeds.",
            "dollars: at 0.15 / 0.60 a million tokens for the base model, 2.50 / 10 for the optimizer model.",
            "gained: on the train examples that prompts were chosen by, and how much of it is luck by the result;",
            "truly: what source tasks have gained since the first prompts.",
            f"Each task has {TRAIN} train examples; searches are given the shapes of docs/presets.md.",
            *(
                ["pushing: prompts that push to a label, of those written from answers and of those found."]
                * bool(leant)
            ),
        ),
    )


def refuse_settings(sets: Mapping[str, Any], calls: Iterable[int]) -> None:
    """Raises `ConfigError` for what no config may say, and for what is no part of how a method searches."""
    if others := [key for key in sets if key.partition(".")[0] not in SEARCHES]:
        known = ", ".join(SEARCHES)
        raise ConfigError(f"--set {others[0]}: is no part of how a method searches; what may be set: {known}")
    for count in calls:
        prepared = prepare(World(FIRST_SEED), changed(count, sets), train=1, test=1)
        check_config(prepared.config, source="config")
        check_optimizable(prepared.config, prepared.tasks, source="config")


def name_of(sets: Mapping[str, Any]) -> str:
    """What metaspo+ with other settings is called."""
    return " ".join([f"{REFERENCE}, with", *(f"{key}={as_toml(value)}" for key, value in sets.items())])


def find(job: Job) -> Found:
    """One run, on virtual time."""
    quiet = {"test": {"source": "none", "baseline": False}, "iterations": 1}
    prepared = prepare(
        job.world, {**quiet, **({} if isinstance(job.changes, Peer) else job.changes)}, train=TRAIN, test=TEST
    )
    writer, written = Writer(job.world, **WRITERS[job.writer]), list[bool]()

    def write(request: Request) -> str:
        text = writer.answer(request)
        if "_prompt>" in text and "<pair>" not in request.messages[-1].content:
            written.append(bool(pushed_to(text)))
        return text

    answers = {"base": (job.world.base, SMALL_PRICES), "optimizer": (write, LARGE_PRICES)}

    async def session() -> Found:
        lanes = [
            Lane(name, [Simulated(answer, latency=1.0)], LaneSettings(concurrency=16, prices=prices))
            for name, (answer, prices) in answers.items()
        ]
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            context = make_context(
                prepared, gateway, LaneNames(), journal=MemoryJournal(), observer=Observer(), name="methods"
            )
            if isinstance(job.changes, Peer):
                sources = [task for task in prepared.tasks if task.role == "source"]
                texts, took = job.changes.optimize(job.world, sources, job.calls)
                system, users = texts[SYSTEM], {task.name: texts[task.name] for task in sources}
                base, optimizer, dollars = took.base, took.optimizer, took.dollars
                gained, luck = None, None
            else:
                result = await run(context)
                use = context.account.statistics()
                system, users = result.system_prompt, {task: kept[0] for task, kept in result.user_prompts.items()}
                base = use.lanes["base"].calls - sum(len(task.test) for task in context.targets)
                optimizer = use.lanes["optimizer"].calls if "optimizer" in use.lanes else 0
                dollars = use.total.dollars or 0.0
                gained, luck = result.train_after - result.train_before, result.user_luck
            unseen = await induce_user_prompts(context, count=INDUCED)
        first = {task.name: [task.user_prompt] for task in context.sources}
        source = job.world.worth(system, {task: [user] for task, user in users.items()}, context.sources)
        return Found(
            source=source,
            unseen=job.world.worth(system, unseen, context.targets),
            base=base,
            optimizer=optimizer,
            dollars=dollars,
            gained=gained,
            luck=luck,
            truly=source - job.world.worth(context.config.system_prompt, first, context.sources),
            written=fmean(written or [False]),
            found=fmean(bool(pushed_to(prompt)) for prompt in (system, *users.values())),
        )

    return run_virtual(session())


def row_of(
    by_cell: Mapping[tuple[int, str, str], Sequence[Found]], calls: int, worlds: Sequence[str], kind: str, name: str
) -> Row:
    """What a method came to at so many calls in one kind of world or, if that is "all", over all of them."""
    kinds = _kinds(kind, worlds)

    def figure(method: str, side: str) -> list[float]:
        """By seed, the mean over the worlds."""
        runs = zip(*(by_cell[calls, world, method] for world in kinds), strict=True)
        return [fmean(100 * getattr(run, side) for run in same_seed) for same_seed in runs]

    row: dict[str, Figure] = {"calls": calls, "world": kind, "method": name}
    for side in ("source", "unseen"):
        own, reference = figure(name, side), figure(REFERENCE, side)
        row[side] = _interval(over_seeds(dict(enumerate(own))), signed=False)
        ahead = over_seeds({seed: best - other for seed, (best, other) in enumerate(zip(reference, own, strict=True))})
        row[f"ahead, {side}"] = "–" if name == REFERENCE else _interval(ahead, signed=True)
    runs = [run for world in kinds for run in by_cell[calls, world, name]]
    row["base calls"] = round(fmean(run.base for run in runs))
    row["optimizer calls"] = round(fmean(run.optimizer for run in runs))
    row["dollars"] = f"{fmean(run.dollars for run in runs):.2f}"
    row["gained"], row["of it luck"] = _points([run.gained for run in runs]), _points([run.luck for run in runs])
    row["truly"] = _points([run.truly for run in runs])
    return row


def _points(shares: Sequence[float | None]) -> str:
    """Their mean, if every run has one."""
    known = [share for share in shares if share is not None]
    return f"{100 * fmean(known):+.1f}" if len(known) == len(shares) else "–"


def _pushing(
    by_cell: Mapping[tuple[int, str, str], Sequence[Found]], calls: int, worlds: Sequence[str], kind: str, name: str
) -> Row:
    """How many of a method's prompts push to a label."""
    runs = [run for world in _kinds(kind, worlds) for run in by_cell[calls, world, name]]
    shares = {"written": fmean(run.written for run in runs), "found": fmean(run.found for run in runs)}
    return {f"pushing, {side}": f"{share:.0%}" for side, share in shares.items()}


def _kinds(kind: str, worlds: Sequence[str]) -> list[str]:
    return list(worlds) if kind == "all" else [kind]


def _interval(figure: OverSeeds, *, signed: bool) -> str:
    sign = "+" if signed else ""
    around = f" ({figure.interval.low:{sign}.1f} to {figure.interval.high:{sign}.1f})" if figure.interval else ""
    return f"{figure.mean:{sign}.1f}{around}"
