"""The answers of a run, as it got and read them: from its cache, by its config. Nothing is asked of any model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metaspo.cache import PASSWORD, MemoryStore, Store, folder_of, open_store
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.evaluation.answers import TaskAnswers, Wanted
from metaspo.engine.evaluation.asking import Base, asking_of
from metaspo.engine.evaluation.grading import outcomes_of
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, score_of_answered
from metaspo.engine.evaluation.test_score import Stage, TestScore
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import read_result, tests_of
from metaspo.engine.runs.reopened import reopen
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.tasks import Task
from metaspo.scheduling import Gateway

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswers:
    """The answers of a run.

    Attributes:
        after: whose answers those after are: "the prompts that it found", or of a run that has not finished "the best
            prompts so far".
        tasks: those whose examples of the split the run asks, in the order of the config, or the one that was named.
        tests: what the answers are worth, before and after, of the tasks of which none is missing.
        regraded: how many of their grades are not those of the run's result.
    """

    run: str
    after: str
    tasks: tuple[TaskAnswers, ...]
    tests: tuple[TestScore, ...] = ()
    regraded: int = 0

    @property
    def changed(self) -> str:
        """That the answers are not worth what the run's result says, in a sentence; "" if they are."""
        if not self.regraded:
            return ""
        return (
            f"{self.regraded:,} grades are other than in the run's result, whose scores are those of then: what reads "
            "or grades the answers has changed since."
        )

    @property
    def missing(self) -> str:
        """What cannot be shown, and why, in a sentence; "" if all is there."""
        missing = sum(task.missing for task in self.tasks)
        if not missing:
            return ""
        whole = 2 * sum(len(task.examples) for task in self.tasks)
        return (
            f"{missing:,} of {whole:,} answers are not in the cache: they were not asked for, could not be had, were "
            "cleared out, or the data has changed since."
        )

    def as_json(self, wanted: Wanted | None = None) -> dict[str, Any]:
        """Plain data, of the examples that are wanted."""
        tasks = [task.as_json(wanted) for task in self.tasks]
        return {"run": self.run, "after": self.after, "missing": self.missing, "changed": self.changed, "tasks": tasks}


async def run_answers(run: RunDirectory, *, task: str = "", split: Split | None = None) -> RunAnswers:
    """What a run's examples were answered under its first prompts and under what it found (or has found so far).

    Args:
        task: the only one that is looked at; all if left out.
        split: by default "test" for a run that has finished and has one, "train" for another.

    Raises:
        RunDirectoryError: for a directory that cannot be read.
        ConfigError, TaskError: for a config or data that cannot be used any more.
        StoreError: when the cache cannot be used.
    """
    again = reopen(run, task=task)
    config, finished = again.config, again.finished
    split = split or ("test" if finished and any(each.test for each in again.tasks) else "train")
    store = _store_of(config, again.folder)
    try:
        async with Gateway((), store=store) as gateway:  # without a lane: it can call nobody
            reader = _Reader(Base.of(config, gateway, LaneNames()))
            having = [each for each in again.tasks if _is_shown(each, split, named=bool(task))]
            answered = [await reader.task_answers(each, again.pairs(each), split=split) for each in having]
    finally:
        await store.aclose()
    after = "the prompts that it found" if finished else "the best prompts so far"
    tests = [test for _, sides in answered for test in sides]
    told = tests_of(read_result(run)) if finished and split == "test" else ()
    return RunAnswers(
        run=run.name,
        after=after,
        tasks=tuple(task for task, _ in answered),
        tests=tuple(tests),
        regraded=_regraded(tests, told),
    )


def _is_shown(task: Task, split: Split, *, named: bool) -> bool:
    """Whether it has the split and, unless it was named, a run asks that: of a target task it asks test examples."""
    if split == "test":
        return bool(task.test)
    return bool(task.train) and (named or task.role != "target")


def _regraded(tests: Sequence[TestScore], told: Sequence[TestScore]) -> int:
    """How many grades are not those that the result has of the same prompts on the same task."""
    grades = {(test.task, test.system, test.user): test.grades for test in told}
    pairs = [(test.grades, grades.get((test.task, test.system, test.user), ())) for test in tests]
    return sum(now != then for ours, theirs in pairs for now, then in zip(ours, theirs, strict=False))


@dataclass(frozen=True, slots=True)
class _Reader:
    base: Base

    async def task_answers(
        self, task: Task, pairs: Mapping[Stage, PromptPair], *, split: Split
    ) -> tuple[TaskAnswers, list[TestScore]]:
        sides = {stage: await self._outcomes(task, pair, split) for stage, pair in pairs.items()}
        answers = TaskAnswers.of(task, split=split, before=sides["before"], after=sides["after"])
        tests = [] if answers.missing else [self._test(task, pairs[stage], sides[stage], stage) for stage in pairs]
        return answers, tests

    async def _outcomes(self, task: Task, pair: PromptPair, split: Split) -> Sequence[Outcome | None]:
        examples = task.train if split == "train" else task.test
        answers = await asking_of(self.base, pair, task, examples).recall()
        outcomes = await outcomes_of(self.base, task, examples, answers, priority=None)
        return [outcomes.get(row) for row in range(len(examples))]

    def _test(self, task: Task, pair: PromptPair, outcomes: Sequence[Outcome | None], stage: Stage) -> TestScore:
        """What the outcomes, all of which are there, are worth."""
        whole = tuple(outcome for outcome in outcomes if outcome is not None)
        card = Scorecard(
            task=task.name,
            pair=pair,
            outcomes=whole,
            score=score_of_answered(whole, metric=task.metric),
            weight=task.weight,
            prices=self.base.model.prices,
        )
        return TestScore.of(card, role=task.role, metric=task.metric.name, stage=stage)


def _store_of(config: RunConfig, folder: Path) -> Store:
    """The run's cache; an empty one where it kept nothing, so that none is made."""
    kept = folder_of(config.cache, folder=folder)
    if not config.cache or (kept is not None and not kept.is_dir()):
        return MemoryStore()
    password = environment_with_dotenv(folder).get(PASSWORD, "")
    return open_store(config.cache, folder=folder, password=password)
