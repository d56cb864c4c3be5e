"""Judges held against people: answers that people have graded, graded by a task's judge."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from metaspo.backends import Completion, Progress, Usage
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.asking import Base
from metaspo.engine.evaluation.grading import outcomes_of
from metaspo.engine.evaluation.scorecard import Outcome
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.runs.execute import open_for
from metaspo.engine.runs.prepare import Prepared
from metaspo.engine.runs.spending_book import command_purse
from metaspo.engine.runs.time_cap import TimeCap
from metaspo.engine.statistics.agreement import Agreement, agreement
from metaspo.engine.suggest import nearest
from metaspo.engine.tasks import DataSource, Example, Task, TaskError, TaskSpec
from metaspo.engine.tasks.cells import Row, question_of, text_in
from metaspo.engine.tasks.examples import accepted_answers
from metaspo.engine.tasks.judges import Judge
from metaspo.engine.tasks.sources import read_rows
from metaspo.scheduling import Account, AccountStatistics

RESPONSE, SCORE = "response", "score"  # columns of a file of labelled answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """An answer that somebody has graded; `score` is 0 to 1."""

    example: Example
    response: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReport:
    """A judge beside people, answer by answer.

    Attributes:
        outcomes: what the judge made of them, in their order.
        agreed: None where it graded none of them.
    """

    task: str
    labelled: tuple[Labelled, ...]
    outcomes: tuple[Outcome, ...]
    agreed: Agreement | None
    usage: AccountStatistics

    @property
    def apart(self) -> list[tuple[Labelled, Outcome]]:
        """Those that they grade differently, the farthest first."""
        both = [
            (labelled, outcome, abs(labelled.score - outcome.grade))
            for labelled, outcome in zip(self.labelled, self.outcomes, strict=True)
            if outcome.grade is not None and outcome.grade != labelled.score
        ]
        return [(labelled, outcome) for labelled, outcome, _ in sorted(both, key=lambda each: -each[2])]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "task": self.task,
            "agreement": asdict(self.agreed) if self.agreed else None,
            "answers": [
                {
                    "where": labelled.example.where,
                    "question": labelled.example.question,
                    "response": labelled.response,
                    "score": labelled.score,
                    "judge": outcome.grade,
                    "reasons": outcome.feedback or outcome.reason,
                }
                for labelled, outcome in zip(self.labelled, self.outcomes, strict=True)
            ],
        }


async def judge_labelled(
    prepared: Prepared,
    file: Path,
    *,
    task: str = "",
    progress: Progress | None = None,
    warn: Warn = log_warning,
) -> JudgeReport:
    """Have a task's judge grade the answers in a file, and say how far it agrees with the scores there.

    Args:
        file: rows with the task's question (and answer, if the judge sees it), `response` and `score`.
        task: whose judge; may be left out where there is one only.

    Raises:
        ConfigError, TaskError: for a config or a file that cannot be used.
        RunStopped: when the judge cannot be asked any more.
    """
    spec, loaded = _judged(prepared, task)
    judge = loaded.metric.function  # type: ignore[attr-defined]
    labelled = tuple(_read(row, spec, loaded, judge) for row in read_rows(DataSource(path=str(file)), base_dir=Path()))
    if not labelled:
        raise TaskError(f"{file}: holds no answers")
    config = prepared.config.model_copy(update={"optimizer": None})
    kept = prepared.command_folder(f"{config.name or 'run'}.judge", [loaded.grading, str(file)])
    time = TimeCap.of(config.budget.hours)
    with command_purse(config.budget, kept=kept, name="judge") as purse:
        async with open_for([replace(prepared, config=config)], progress=progress, warn=warn) as (gateway, (names,)):
            account = Account("judge", purse=purse)
            with time.kept():
                outcomes = await _graded(labelled, loaded, Base.of(config, gateway, names, account))
            await gateway.settled(account)
    pairs = [(each.score, out.grade) for each, out in zip(labelled, outcomes, strict=True) if out.grade is not None]
    return JudgeReport(
        task=loaded.name,
        labelled=labelled,
        outcomes=outcomes,
        agreed=agreement(pairs, step=1 / (len(judge.form.grades) - 1)) if pairs else None,
        usage=account.statistics(),
    )


async def _graded(labelled: Sequence[Labelled], task: Task, base: Base) -> tuple[Outcome, ...]:
    """What the task's judge makes of each answer, in their order."""
    answers = {
        row: Completion(text=each.response, finish_reason="stop", usage=Usage(0, 0), latency=0.0)
        for row, each in enumerate(labelled)
    }
    outcomes = await outcomes_of(base, task, [each.example for each in labelled], answers, priority=())
    return tuple(outcomes[row] for row in range(len(labelled)))


def _judged(prepared: Prepared, name: str) -> tuple[TaskSpec, Task]:
    """Raises `ConfigError` where it is not clear whose judge is meant, or it cannot be held against labels."""
    judged = [spec.name for spec in prepared.config.tasks if spec.judge is not None]
    if not judged:
        raise ConfigError(f"{prepared.source}: no task has a judge: see docs/judges.md")
    if name not in ("", *judged):
        raise ConfigError(f"there is no task '{name}' with a judge{nearest(name, judged)}; known: {', '.join(judged)}")
    chosen = name or judged[0]
    at = [spec.name for spec in prepared.config.tasks].index(chosen)
    spec, task = prepared.config.tasks[at], prepared.tasks[at]
    if task.against_first:
        raise ConfigError(f"task '{chosen}': what is compared with the first prompts' answers has no labels of its own")
    return spec, task


def _read(row: Row, spec: TaskSpec, task: Task, judge: Judge) -> Labelled:
    """Raises `TaskError`, which names the row."""
    if row.fault:
        raise TaskError(row.fault)
    gold = accepted_answers(spec, task.answer_format, row)
    example = Example(question_of(row, spec.columns), gold, row.where)
    return Labelled(example=example, response=text_in(row, RESPONSE), score=_score(row, judge))


def _score(row: Row, judge: Judge) -> float:
    """A label on the judge's scale; beside another answer 1, 0.5 or 0."""
    said = text_in(row, SCORE).strip().casefold()
    grades = {"1": 1.0, "0.5": 0.5, "0": 0.0} if judge.against else judge.form.grades
    points = {name.casefold(): value for name, value in grades.items()}
    if said not in points:
        raise TaskError(f"{row.where}: column {SCORE!r} is {said!r}; it must be one of {', '.join(points)}")
    return points[said]
