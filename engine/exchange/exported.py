"""What a finished run hands on: its prompts, how they are asked, and where they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Final

from metaspo.backends import Message
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import model_of
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.answers import TaskAnswers
from metaspo.engine.evaluation.task_rows import TaskRow
from metaspo.engine.prompts import PromptPair, Roles, render
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import Data, finished_at, read_result
from metaspo.engine.runs.reopened import read_config
from metaspo.engine.runs.stored import rows_of, run_data
from metaspo.engine.strategies.worked_examples import without_own
from metaspo.engine.suggest import there_is_no
from metaspo.engine.tasks import AnswerSpec, Example, TaskSpec
from metaspo.engine.tasks.answer_spec import ANSWER_KINDS
from metaspo.engine.tasks.base import PLACEHOLDER

ABOUT: Final = "about.json"  # beside the files of every export
About = Mapping[str, str | float]
SCORE_KEYS = ("score_before", "score", "score_low", "score_high")  # of a task, where it was tested; a 95% interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedTask:
    """One task with the prompts to ask it with.

    Attributes:
        sampling: as of the whole run, over that what the task says of itself, `response_format` included.
        program: the import path of what answers its examples in place of one call; "" for none.
        about: the run, the models, the metric, and the test score before and after with its interval.
        answers: its examples and what they were answered, where they are wanted.
    """

    name: str
    pair: PromptPair
    roles: Roles
    answer: AnswerSpec
    about: About
    sampling: Mapping[str, Any] = field(default_factory=dict)
    program: str = ""
    answers: TaskAnswers | None = None

    @property
    def looks(self) -> dict[str, Any]:
        """Its `answer` table, without how the answers were found in the data; a format of the user's own stays there,
        whose file does not come along."""
        if self.answer.kind not in ANSWER_KINDS:
            return {}
        said = self.answer.model_dump(mode="json", exclude_defaults=True, exclude={"gold_pattern"})
        return {"answer": {"kind": self.answer.kind, **said}}

    def messages(self, asked: str | Example = PLACEHOLDER) -> tuple[Message, ...]:
        """The chat that puts a question, or an example with the turns before it; if none is given, a template with
        `{question}` exactly once. Without a system prompt there is no message of it. What the prompts demonstrate of an
        example is left out, as in a run."""
        pair = without_own(self.pair, asked.question) if isinstance(asked, Example) else self.pair
        return tuple(each for each in render(pair, asked, roles=self.roles) if each.content or each.role != "system")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedRun:
    """What a finished run hands on.

    Attributes:
        server: `url` and `key` (the name of a variable) of the base model's first endpoint, as far as it has them.
        about: the run, the models, and what the result says of the prompts.
    """

    run: str
    model: str
    system: str
    tasks: tuple[ExportedTask, ...]
    server: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)

    def without_system(self) -> "ExportedRun":
        """The same with user prompts alone."""
        tasks = (replace(task, pair=PromptPair("", task.pair.user), roles="separate") for task in self.tasks)
        return replace(self, system="", tasks=tuple(tasks))

    def with_answers(self, answers: Sequence[TaskAnswers]) -> "ExportedRun":
        """The same with its tasks' examples."""
        by_task = {each.task: each for each in answers}
        return replace(self, tasks=tuple(replace(task, answers=by_task.get(task.name)) for task in self.tasks))


def exported_run(run: RunDirectory, *, task: str = "") -> ExportedRun:
    """What a run hands on, of all its tasks or of one.

    Raises:
        RunDirectoryError: for a run that has not finished, or cannot be read.
        ConfigError: for a task that it does not have.
    """
    config, result, data = read_config(run), read_result(run), run_data(run)
    names = [spec.name for spec in config.tasks]
    if task and task not in names:
        raise ConfigError(there_is_no("task", task, names))
    about = _about(run, config)
    rows = {row.task: row for row in rows_of(data)}
    users = _user_prompts(config, result)
    system = result["system_prompt"]
    tasks = tuple(
        ExportedTask(
            name=spec.name,
            pair=PromptPair(system, users[spec.name]),
            roles=config.roles,
            answer=spec.answer,
            about={**about, "task": spec.name, **_score(rows.get(spec.name))},
            sampling=_sampling(config, spec),
            program=spec.program or "",
        )
        for spec in config.tasks
        if task in ("", spec.name) and users.get(spec.name)
    )
    model, server = _asked_first(config.base)
    return ExportedRun(
        run=run.name,
        model=model,
        system=system,
        tasks=tasks,
        server=server,
        about={**about, "gains": data["summary"].get("gains", [])},
    )


def _about(run: RunDirectory, config: RunConfig) -> About:
    return {
        "run": run.name,
        "model": config.base.model,
        "optimizer": config.optimizer.model if config.optimizer else "",
        "seed": config.seed,
        "date": f"{finished_at(run):%Y-%m-%d}",
        "metaspo": version("metaspo"),
    }


def _score(row: TaskRow | None) -> About:
    """The test score of a task, as far as it was tested."""
    if row is None:
        return {}
    interval = row.after_interval
    scores = (row.before, row.after, *((interval.low, interval.high) if interval else ()))
    said = {key: value for key, value in zip(SCORE_KEYS, scores, strict=False) if value is not None}
    return {"metric": row.metric, **said}


def _user_prompts(config: RunConfig, result: Data) -> dict[str, str]:
    """By task: the best one kept, that under which it was tested, or the config's."""
    rows = (row for row in result.get("tests", ()) if row.get("prompt") == 0)
    tested = {row["task"]: user for row in rows if "task" in row and isinstance(user := row.get("user"), str)}
    written = {spec.name: spec.user_prompt for spec in config.tasks if spec.user_prompt}
    return {**written, **tested, **{task: prompts[0] for task, prompts in result["user_prompts"].items()}}


def _asked_first(base: ModelTable) -> tuple[str, dict[str, str]]:
    """The name that the model has at the endpoint that is asked first, and what is said of that one."""
    first = next((endpoint for endpoint in base.endpoints if not endpoint.standby), None)
    said = {"url": first.url if first else "", "key": (first and first.api_key_env) or base.api_key_env}
    return (first and first.model) or base.model, {name: value for name, value in said.items() if value}


def _sampling(config: RunConfig, task: TaskSpec) -> dict[str, Any]:
    """Of the task's requests: `temperature`, `top_p`, `max_tokens`, `stop`, `response_format`, those that are sent."""
    sampling = model_of(config.base).sampling
    said = {name: getattr(sampling, name) for name in ("temperature", "top_p", "max_tokens")}
    said["max_tokens"] = task.max_tokens or sampling.max_tokens
    said |= {"stop": list(sampling.stop), "response_format": task.response_format}
    return {name: value for name, value in said.items() if value not in (None, [], {})}
