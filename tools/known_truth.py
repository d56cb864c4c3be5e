"""What every strategy is worth in a world whose answers are known (docs/known-truth.md).

    python tools/known_truth.py --seeds 20                  # --jobs N, --parts strategies loops savings
    python tools/known_truth.py --methods sprig opro        # these strategies only
    python tools/known_truth.py --parts loops --apart       # the two loops, only where the tasks share no skills

Whole runs through the engine and a gateway, on virtual time, against models that are functions. Prints Markdown. Exits
with 1 if early rejection changed a result or a strategy did no better than the default.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from metaspo.backends import Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.known_truth.world import World, prepare
from metaspo.bench.known_truth.writer import Writer
from metaspo.bench.savings import same_rounds
from metaspo.cache import MemoryStore
from metaspo.engine import RunResult, selections
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.runs.session import make_context
from metaspo.engine.statistics import OverSeeds, over_seeds
from metaspo.engine.strategies.registry import INNER, OUTER, SEARCHES
from metaspo.engine.studies.generalize import generalize, induce_user_prompts
from metaspo.scheduling import Gateway, Lane, LaneSettings

Changes = Mapping[str, Any]

TRAIN, TEST = 20, 40
PARTS = ("strategies", "loops", "savings")
RACING = 0.05
INDUCED = 4  # user prompts a target task
DISTRACTIONS = (0.0, 0.02)
TACT = 0.7
TACTS = (0.0, TACT, 1.0)
OPTIONS: Mapping[str, Changes] = {
    "ape": {"inductions": 6, "resample": 1, "top": 2, "variations": 2},
    "evoprompt-de": {"population": 6, "generations": 4},
    "evoprompt-ga": {"population": 6, "generations": 4},
    "gepa": {"steps": 10, "minibatch": 8},
    "mipro": {"instructions": 5, "sets": 4, "trials": 16, "minibatch": 20, "full_every": 4},
    "opro": {"steps": 4, "samples": 4},
    "protegi": {"rounds": 3, "beam": 2, "minibatch": 20, "gradients": 2, "paraphrases": 1, "select_rounds": 4}
    | {"select_width": 4, "select_examples": 20},
    "sprig": {"steps": 4, "beam": 3, "questions": 15, "add_candidates": 12, "paraphrases": 2, "max_candidates": 24},
    "textgrad": {"epochs": 2, "steps": 3},
}
OUTER_ITERATIONS = 6  # of the outer loop alone: twice MetaSPO's, as in the paper


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        before, after: by role, the share of right answers on test splits.
        worth: the mean chance of being right on the target tasks' test splits under the system prompt, in truth.
        carried: skills that every task needs, and others, that the system prompt names.
        calls: of the base model.
        chosen: every selection, by address.
    """

    result: RunResult
    before: Mapping[str, float]
    after: Mapping[str, float]
    worth: float
    carried: tuple[int, int]
    calls: int
    chosen: Mapping[str, Mapping[str, Any]]

    def gain(self, role: str) -> float:
        """After minus before."""
        return self.after[role] - self.before[role]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run.

    Attributes:
        tact: of the optimizer model.
        induced: user prompts induced for each target task, on which the system prompt is then tested; 0: the first one.
    """

    world: World
    changes: Changes
    tact: float = TACT
    induced: int = 0


def main() -> None:
    """Run and print; exit with 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--methods", nargs="+", choices=sorted(OUTER), default=sorted(OUTER), help="strategies")
    parser.add_argument("--outer-iterations", type=int, default=OUTER_ITERATIONS, help="of the outer loop alone")
    worlds = parser.add_mutually_exclusive_group()
    worlds.add_argument("--shared", action="store_true", help="loops: only where the tasks share skills")
    worlds.add_argument("--apart", action="store_true", help="loops: only where they share none")
    given = parser.parse_args()
    shared = [True] if given.shared else [False] if given.apart else [True, False]
    started, broken = time.monotonic(), []
    with ProcessPoolExecutor(given.jobs) as pool:
        study = Study(pool, range(given.seeds), given.outer_iterations)
        if "strategies" in given.parts:
            broken += study.strategies(given.methods)
        if "loops" in given.parts:
            study.loops(shared)
        if "savings" in given.parts:
            broken += study.savings()
    print(f"\n{given.seeds} seeds, {time.monotonic() - started:,.0f} s.")
    if broken:
        sys.exit("Broken: " + "; ".join(broken))


@dataclass(frozen=True)
class Study:
    """The three questions, each over the same seeds."""

    pool: ProcessPoolExecutor
    seeds: Sequence[int]
    outer_iterations: int = OUTER_ITERATIONS

    def strategies(self, names: Iterable[str]) -> list[str]:
        """Every strategy by itself, at each level; those that do not improve on the default."""
        table("strategy", "looks for", "tests on", "default", "found", "gain", "base calls")
        broken = []
        for name in names:
            for level, role in (("user", "source"), ("system", "target")):
                if name not in (INNER if level == "user" else OUTER) or (name, level) == ("sprig", "user"):
                    continue
                outcomes = self._runs([World(seed) for seed in self.seeds], by_itself(name, level))
                gain = over_seeds(outcome.gain(role) for outcome in outcomes.values())
                before, after = (fmean(by[role] for by in column) for column in _sides(outcomes))
                calls = fmean(outcome.calls for outcome in outcomes.values())
                row(name, f"{level} prompts", f"{role} tasks", pct(before), pct(after), points(gain), f"{calls:,.0f}")
                if gain.interval is None or gain.interval.low <= 0:
                    broken.append(f"{name} ({level}) does not improve on the default")
        return broken

    def loops(self, worlds: Iterable[bool]) -> None:
        """MetaSPO beside its outer loop alone, on unseen tasks under induced user prompts."""
        table(
            *("manners", "with the subject", "distraction", "tact", "default", "MetaSPO", "outer loop only"),
            *("difference", "in truth", "manners named", "others named", "source tasks", "base calls"),
        )
        alone: Changes = {"iterations": self.outer_iterations, "inner": {"candidates": 0}}
        for shared, entangled, distraction, tact in product(worlds, (False, True), DISTRACTIONS, TACTS):
            here = [World(seed, shared=shared, entangled=entangled, distraction=distraction) for seed in self.seeds]
            both, outer = (self._runs(here, changes, tact=tact, induced=INDUCED) for changes in ({}, alone))
            gains = [over_seeds(outcome.gain("target") for outcome in outcomes.values()) for outcomes in (both, outer)]
            apart = over_seeds(both[seed].after["target"] - outer[seed].after["target"] for seed in both)
            truly = over_seeds(both[seed].worth - outer[seed].worth for seed in both)
            row(
                "shared" if shared else "apart",
                "entangled" if entangled else "added up",
                f"{100 * distraction:.0f}",
                f"{tact:g}",
                pct(fmean(outcome.before["target"] for outcome in both.values())),
                *(points(figure) for figure in (*gains, apart, truly)),
                *_beside(both, outer),
            )

    def savings(self) -> list[str]:
        """Early rejection and racing beside full scoring; the seeds in which early rejection changed the result."""
        full, early, raced = (
            self._runs([World(seed) for seed in self.seeds], changes)
            for changes in ({"early_rejection": False}, {"early_rejection": True}, {"racing": RACING})
        )
        table("scoring", "base calls", "equal results", "equal rounds", "unseen tasks against full, in truth")
        for name, outcomes in (("full", full), ("early rejection", early), (f"and racing at {RACING}", raced)):
            rounds = [same_rounds(full[seed].chosen, outcomes[seed].chosen) for seed in self.seeds]
            same, compared = (sum(column) for column in zip(*rounds, strict=True))
            equal = sum(without_races(outcomes[seed].result) == without_races(full[seed].result) for seed in self.seeds)
            change = over_seeds(outcomes[seed].worth - full[seed].worth for seed in self.seeds)
            calls = fmean(outcome.calls for outcome in outcomes.values())
            row(name, f"{calls:,.0f}", f"{equal} of {len(full)}", f"{same} of {compared}", points(change))
        changed = [seed for seed in self.seeds if early[seed].result != full[seed].result]
        return [f"early rejection changed the result of seed {seed}" for seed in changed]

    def _runs(
        self, worlds: Sequence[World], changes: Changes, *, tact: float = TACT, induced: int = 0
    ) -> dict[int, Outcome]:
        jobs = [Job(world=world, changes=changes, tact=tact, induced=induced) for world in worlds]
        return dict(zip(self.seeds, self.pool.map(measure, jobs), strict=True))


def by_itself(name: str, level: str) -> Changes:
    """One strategy in one loop, the other loop off: a search in one round, what proposes one at a time in three."""
    loop, other_loop = ("inner", "outer") if level == "user" else ("outer", "inner")
    table = {"strategy": name, "options": OPTIONS.get(name, {})}
    return {loop: table, other_loop: {"candidates": 0}, "iterations": 1 if name in SEARCHES else 3}


def measure(job: Job, *, train: int = TRAIN, test: int = TEST) -> Outcome:
    """One run, on virtual time."""
    world = job.world
    prepared = prepare(world, {"test": {"source": "best"}, **job.changes}, train=train, test=test)
    answers = {"base": world.base, "optimizer": Writer(world, tact=job.tact).answer}

    async def session() -> Outcome:
        lanes = [
            Lane(name, [Simulated(answer, latency=1.0)], LaneSettings(concurrency=16))
            for name, answer in answers.items()
        ]
        journal = MemoryJournal()
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            context = make_context(prepared, gateway, journal=journal)
            result = await run(context)
            calls = context.account.statistics().lanes["base"].calls
            users: dict[str, tuple[str, ...]] = {task.name: (task.user_prompt,) for task in context.targets}
            sides: dict[str, dict[str, float]] = {
                side: {gain.role: getattr(gain, side) for gain in result.gains} for side in ("before", "after")
            }
            if job.induced:
                users = await induce_user_prompts(context, count=job.induced)
                for side, system in (("before", context.config.system_prompt), ("after", result.system_prompt)):
                    sides[side]["target"] = fmean(row.score or 0.0 for row in await generalize(context, system, users))
        return Outcome(
            result=result,
            before=sides["before"],
            after=sides["after"],
            worth=world.worth(result.system_prompt, users, context.targets),
            carried=world.carried(result.system_prompt),
            calls=calls,
            chosen=selections(journal.events),
        )

    return run_virtual(session())


def without_races(result: RunResult) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    """What was found, whoever was dropped on the way."""
    return result.system_prompt, result.user_prompts


def table(*columns: str) -> None:
    """Print a table's head."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def row(*cells: str) -> None:
    """Print a row, as soon as it is there."""
    print(f"| {' | '.join(cells)} |", flush=True)


def pct(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f}"


def points(figure: OverSeeds) -> str:
    """A difference in points, and its 95% interval."""
    assert figure.interval is not None, "of one seed there is no interval"
    return f"{100 * figure.mean:+.1f} ({100 * figure.interval.low:+.1f} to {100 * figure.interval.high:+.1f})"


def _sides(outcomes: Mapping[int, Outcome]) -> tuple[list[Mapping[str, float]], list[Mapping[str, float]]]:
    return [outcome.before for outcome in outcomes.values()], [outcome.after for outcome in outcomes.values()]


def _beside(both: Mapping[int, Outcome], outer: Mapping[int, Outcome]) -> Iterator[str]:
    """Skills in the system prompt, score on the source tasks and calls, of one and the other."""
    columns: Sequence[tuple[Callable[[Outcome], float], str]] = (
        (lambda outcome: outcome.carried[0], ".1f"),
        (lambda outcome: outcome.carried[1], ".1f"),
        (lambda outcome: 100 * outcome.after["source"], ".1f"),
        (lambda outcome: outcome.calls, ",.0f"),
    )
    for figure, form in columns:
        yield " / ".join(format(fmean(map(figure, outcomes.values())), form) for outcomes in (both, outer))


if __name__ == "__main__":
    main()
