"""Both prompts asked what should be refused and what should not, and what their answers come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from metaspo.backends import Progress
from metaspo.engine.api import evaluate
from metaspo.engine.domains import data_folder, domain_tasks
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.answers import example_data, outcome_data
from metaspo.engine.evaluation.scorecard import Outcome
from metaspo.engine.evaluation.test_score import Stage
from metaspo.engine.runs.directory import RunDirectory, write_json
from metaspo.engine.runs.prepare import Prepared, prepare
from metaspo.engine.runs.reopened import ReopenedRun, reopen
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.safety.refusals import ANSWER, REFUSE
from metaspo.engine.statistics import Comparison, SplitGrades, as_family, compare
from metaspo.engine.tasks import TaskSpec
from metaspo.scheduling import AccountStatistics

REQUESTS: Final = Path(__file__).with_name("requests.jsonl")
METRIC: Final = "metaspo.engine.safety.refusals:behaves"


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows with one right answer, and what a wrong one does with them."""

    what: str
    wrong: str
    more: str
    less: str


KINDS: Final[Mapping[str, Kind]] = {
    REFUSE: Kind("requests that it should refuse", "did not refuse", "refuses less of these", "refuses more of these"),
    ANSWER: Kind("requests that it should answer", "refused", "refuses more of these", "refuses less of these"),
    "yes": Kind("texts of the safety domain that do harm", "passed", "lets more pass", "lets less pass"),
    "no": Kind("texts of the safety domain that do none", "objected to", "objects to more", "objects to less"),
}
"""By the right answer: of requests, then of the texts that the safety domain's tasks judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What became of the rows of one kind.

    Attributes:
        kind: a key of `KINDS`.
        compared: the share that was answered as it should be, after against before.
    """

    kind: str
    compared: Comparison

    @property
    def verdict(self) -> str:
        """What the optimized prompt makes the model do."""
        kind = KINDS[self.kind]
        return {"worse": kind.more, "better": kind.less, "noise": "no difference that can be told from noise"}[
            self.compared.verdict
        ]

    @property
    def sentence(self) -> str:
        """What it comes to, for people."""
        kind, compared = KINDS[self.kind], self.compared
        before, after = 1 - compared.score_b, 1 - compared.score_a
        low, high = -100 * compared.interval.high, -100 * compared.interval.low
        return (
            f"Of {compared.examples} {kind.what} the model {kind.wrong} {before:.1%} under the first system prompt, "
            f"{after:.1%} under the optimized one: {100 * (after - before):+z.1f} points (95% interval {low:+z.1f} to "
            f"{high:+z.1f}); {self.verdict}."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data; shares of what went wrong."""
        compared = self.compared
        return {
            "kind": self.kind,
            "rows": compared.examples,
            "wrong_before": 1 - compared.score_b,
            "wrong_after": 1 - compared.score_a,
            "low": -compared.interval.high,
            "high": -compared.interval.low,
            "p": compared.p_adjusted,
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyReport:
    """What a check came to.

    Attributes:
        data: what was asked: "metaspo's requests", or a file.
        answers: task -> stage -> outcomes, in the order of the rows.
    """

    run: str
    data: str
    sides: tuple[Side, ...]
    answers: Mapping[str, Mapping[Stage, Sequence[Outcome]]]
    usage: Mapping[Stage, AccountStatistics]

    @property
    def unanswered(self) -> int:
        """Rows without an answer under one of the prompts."""
        return sum(
            before.grade is None or after.grade is None
            for stages in self.answers.values()
            for before, after in zip(stages["before"], stages["after"], strict=True)
        )

    def turned(self, kind: str) -> list[tuple[Outcome, Outcome]]:
        """The rows of a kind that went right under the first system prompt and wrong under the optimized one."""
        return [
            (before, after)
            for stages in self.answers.values()
            for before, after in zip(stages["before"], stages["after"], strict=True)
            if before.example.answers[0] == kind and before.grade == 1 and after.grade == 0
        ]

    def as_json(self) -> dict[str, Any]:
        """Plain data, every answer included."""
        return {
            **self.kept,
            "answers": [
                {
                    "task": task,
                    **example_data(before.example),
                    "before": outcome_data(before),
                    "after": outcome_data(after),
                }
                for task, stages in self.answers.items()
                for before, after in zip(stages["before"], stages["after"], strict=True)
            ],
        }

    @property
    def kept(self) -> dict[str, Any]:
        """What a run's directory keeps of it."""
        return {"run": self.run, "data": self.data, "sides": [side.as_json() for side in self.sides]}


async def check_safety(
    run: RunDirectory,
    *,
    data: Path | None = None,
    domain: bool = False,
    rows: int | None = None,
    observer: Observer | None = None,
    progress: Progress | None = None,
) -> SafetyReport:
    """Ask the base model under the first and the optimized system prompt, with nothing else around a request.

    The result goes into the run's directory as `safety.json`, where the run's summary and page take it from.

    Args:
        data: requests of one's own: rows with the columns `question` and `should`, "refuse" or "answer"; those of
            metaspo if left out.
        domain: whether to ask the tasks of the safety domain, too, from METASPO_DATA or Hugging Face.
        rows: of each of these tasks at most.

    Raises:
        ConfigError, TaskError: for a run or data that cannot be used.
        RunDirectoryError: for a run that cannot be read.
        RunStopped: when the answers cannot be had now; those paid for are kept.
    """
    again = reopen(run)
    if again.system_prompts["after"] == again.system_prompts["before"]:
        so_far = "" if again.finished else "the run has not finished, and so far "
        raise ConfigError(
            f"{run.name}: {so_far}its system prompt is the one that it began with; there is nothing to check"
        )
    prepared = _prepared(again, data, domain, rows)
    reports = {
        stage: await evaluate(prepared, system_prompt=system, split="test", observer=observer, progress=progress)
        for stage, system in again.system_prompts.items()
    }
    answers: dict[str, dict[Stage, Sequence[Outcome]]] = {
        task.name: {stage: report.answers[task.name] for stage, report in reports.items()} for task in prepared.tasks
    }
    report = SafetyReport(
        run=run.name,
        data=str(data) if data else "metaspo's requests",
        sides=_sides(answers),
        answers=answers,
        usage={stage: each.usage for stage, each in reports.items()},
    )
    if report.sides:
        write_json(run.safety, report.kept)
    return report


def _prepared(again: ReopenedRun, data: Path | None, domain: bool, rows: int | None) -> Prepared:
    """The run's base model with the tasks to ask in place of the run's own."""
    requests = {
        "name": "requests",
        "role": "target",
        "test": {"path": str((data or REQUESTS).absolute())},
        "columns": {"answer": "should"},
        "test_size": "all",
        "answer": "text",
        "metric": METRIC,
        "user_prompt": "{question}",
    }
    specs = [TaskSpec.model_validate(requests)]
    if domain:
        folder = data_folder(None, environment_with_dotenv(again.folder))
        judged = domain_tasks("safety", data=folder, test_size=rows)
        specs += [spec.model_copy(update={"role": "target", "train": None}) for spec in judged]
    changes = {"tasks": tuple(specs), "optimizer": None, "judge": None, "start": "", "name": "safety"}
    prepared = prepare(again.config.model_copy(update=changes), folder=again.folder, data_folder=again.data)
    for example in prepared.tasks[0].test:
        if example.answers[0] not in (REFUSE, ANSWER):
            raise ConfigError(f"{example.where}: should is {example.answers[0]!r}: write {REFUSE!r} or {ANSWER!r}")
    return prepared


def _sides(answers: Mapping[str, Mapping[Stage, Sequence[Outcome]]]) -> tuple[Side, ...]:
    """The kinds of which both prompts have answered a row; compared as one family."""
    compared = {}
    for kind in KINDS:
        after, before = (
            [split for task, stages in answers.items() if (split := _split(task, stages[stage], kind)).grades]
            for stage in ("after", "before")
        )
        if any(grade is not None for split in after for grade in split.grades):
            names = ("the optimized system prompt", "the first one")
            compared[kind] = compare(after, before, names=names, seeds_matter=False)
    family = as_family(compared.values())
    return tuple(Side(kind=kind, compared=each) for kind, each in zip(compared, family, strict=True))


def _split(task: str, outcomes: Sequence[Outcome], kind: str) -> SplitGrades:
    of_kind = [outcome for outcome in outcomes if outcome.example.answers[0] == kind]
    return SplitGrades(
        task=task,
        grades=[outcome.grade for outcome in of_kind],
        questions=[outcome.example.question for outcome in of_kind],
    )
