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
from itertools import chain, product
from operator import sub
from statistics import fmean
from typing import Any

from metaspo.bench.defaults import FIRST_SEED
from metaspo.bench.known_truth.method_peers import TRAIN, Peer
from metaspo.bench.known_truth.method_run import WRITERS, Job, MethodRun, run_method
from metaspo.bench.known_truth.method_shapes import METHODS, REFERENCE, changed
from metaspo.bench.known_truth.pushes import LEANING
from metaspo.bench.known_truth.world import World, prepare
from metaspo.bench.report import Figure, Report, Row
from metaspo.engine.config.checks import check_config, check_optimizable
from metaspo.engine.config.toml import as_toml
from metaspo.engine.errors import ConfigError
from metaspo.engine.statistics import OverSeeds, over_seeds

CALLS = (500, 2_000, 6_000)
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
NOTES = (
    "source: chance of being right on the source tasks, in points; unseen: on others, under induced prompts.",
    f"ahead: how far {REFERENCE} is ahead of the method, with its 95% interval over seeds.",
    "dollars: at 0.15 / 0.60 a million tokens for the base model, 2.50 / 10 for the optimizer model.",
    "gained: on the train examples that prompts were chosen by, and how much of it is luck by the result;",
    "truly: what source tasks have gained since the first prompts.",
    f"Each task has {TRAIN} train examples; searches are given the shapes of docs/presets.md.",
)
PUSHING = "pushing: prompts that push to a label, of those written from answers and of those found."
LEANS: Mapping[str, float] = {name: LEANING for name, traps in WRITERS.items() if "pushes" in traps}
"""How much the worlds lean to one of two labels, by optimizer model: where it pushes to labels, there are such."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs by number of calls, kind of world and method, in the order of seeds, and the kinds that are compared."""

    runs: Mapping[tuple[int, str, str], Sequence[MethodRun]]
    kinds: Sequence[str]

    def row(self, calls: int, kind: str, name: str) -> Row:
        """What a method came to at so many calls in one kind of world or, if that is "all", over all of them."""
        row: dict[str, Figure] = {"calls": calls, "world": kind, "method": name}
        for side in ("source", "unseen"):
            scores, reference = self._by_seed(calls, kind, name, side), self._by_seed(calls, kind, REFERENCE, side)
            row[side] = _interval(over_seeds(scores), signed=False)
            ahead = over_seeds(map(sub, reference, scores))
            row[f"ahead, {side}"] = "–" if name == REFERENCE else _interval(ahead, signed=True)
        runs = list(chain(*self._of(calls, kind, name)))
        row["base calls"] = round(fmean(run.base for run in runs))
        row["optimizer calls"] = round(fmean(run.optimizer for run in runs))
        row["dollars"] = f"{fmean(run.dollars for run in runs):.2f}"
        row["gained"], row["of it luck"] = _points([run.gained for run in runs]), _points([run.luck for run in runs])
        row["truly"] = _points([run.truly for run in runs])
        return row

    @property
    def sharing(self) -> str:
        """What there is to be found for unseen tasks, whose induced prompts lack what only they need."""
        runs = chain(*(of for (_, _, name), of in self.runs.items() if name == REFERENCE))
        most = fmean(100 * run.shared for run in runs)
        return f"Under a system prompt of just what all tasks share unseen tasks come to {most:.1f}."

    def pushing(self, calls: int, kind: str, name: str) -> Row:
        """How many of a method's prompts push to a label."""
        runs = list(chain(*self._of(calls, kind, name)))
        shares = {"written": fmean(run.written for run in runs), "found": fmean(run.found for run in runs)}
        return {f"pushing, {side}": f"{share:.0%}" for side, share in shares.items()}

    def _of(self, calls: int, kind: str, name: str) -> list[Sequence[MethodRun]]:
        return [self.runs[calls, each, name] for each in (self.kinds if kind == "all" else [kind])]

    def _by_seed(self, calls: int, kind: str, name: str, side: str) -> list[float]:
        """The mean over the worlds, in points."""
        same_seed = zip(*self._of(calls, kind, name), strict=True)
        return [fmean(100 * getattr(run, side) for run in runs) for runs in same_seed]


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
    peers, sets, chosen = peers or {}, sets or {}, list(worlds)
    ours = {**METHODS, **({name_of(sets): partial(changed, sets=sets)} if sets else {})}
    asked_for = [*(methods or ([] if sets else [*METHODS, *peers])), *(name for name in ours if name not in METHODS)]
    names, leaning = [REFERENCE, *(name for name in asked_for if name != REFERENCE)], LEANS.get(writer, 0.0)
    cells = list(product(calls, chosen, names))
    asked = [
        Job(
            world=World(seed, **KINDS[kind], leaning=leaning),
            calls=count,
            changes=ours[name](count) if name in ours else peers[name],
            writer=writer,
        )
        for count, kind, name in cells
        for seed in range(first_seed, first_seed + seeds)
    ]
    with ProcessPoolExecutor(jobs) as pool:
        runs = list(pool.map(run_method, asked, chunksize=4))
    by_cell = {cell: runs[number * seeds : (number + 1) * seeds] for number, cell in enumerate(cells)}
    comparison = Comparison(by_cell, chosen)
    return Report(
        scenario="methods" if writer == "plain" else f"methods --writer {writer}",
        title=f"True ability by method and base calls, simulated; {seeds} seeds from {first_seed}",
        rows=[
            {**comparison.row(*cell), **(comparison.pushing(*cell) if leaning else {})}
            for cell in product(calls, (*chosen, "all"), names)
        ],
        notes=(*NOTES, comparison.sharing, *([PUSHING] if leaning else [])),
    )


def refuse_settings(sets: Mapping[str, Any], calls: Iterable[int]) -> None:
    """Raises `ConfigError` for what no config may say, and for what is no part of how a method searches."""
    if others := [key for key in sets if key.partition(".")[0] not in SEARCHES]:
        raise ConfigError(
            f"--set {others[0]}: is no part of how a method searches; what may be set: {', '.join(SEARCHES)}"
        )
    for count in calls:
        prepared = prepare(World(FIRST_SEED), changed(count, sets), train=1, test=1)
        check_config(prepared.config, source="config")
        check_optimizable(prepared.config, prepared.tasks, source="config")


def name_of(sets: Mapping[str, Any]) -> str:
    """What metaspo+ with other settings is called."""
    return " ".join([f"{REFERENCE}, with", *(f"{key}={as_toml(value)}" for key, value in sets.items())])


def _points(shares: Sequence[float | None]) -> str:
    """Their mean, if every run has one."""
    told = [share for share in shares if share is not None]
    return f"{100 * fmean(told):+.1f}" if len(told) == len(shares) else "–"


def _interval(figure: OverSeeds, *, signed: bool) -> str:
    sign = "+" if signed else ""
    around = f" ({figure.interval.low:{sign}.1f} to {figure.interval.high:{sign}.1f})" if figure.interval else ""
    return f"{figure.mean:{sign}.1f}{around}"
