"""What optimizers inside other tools share: metaspo's search for one system prompt over tasks that the tool answers and
scores itself."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from metaspo.adapters.chat import errors_as
from metaspo.backends import (
    AccessDenied,
    Backend,
    Completion,
    CreditExhausted,
    FatalError,
    Reply,
    Request,
    RequestRejected,
    ServerInfo,
    UnknownModel,
    Usage,
)
from metaspo.cache import MemoryStore
from metaspo.engine import ConfigError, Example, Grade, Prepared, RunConfig, RunResult
from metaspo.engine.api import optimize
from metaspo.engine.config.load import validated
from metaspo.engine.tasks import Task
from metaspo.engine.tasks.base import PLACEHOLDER
from metaspo.engine.tasks.tally import MeanOfGrades
from metaspo.scheduling import CallFailed, Client, Gateway, Lane, LaneSettings, RunStopped
from metaspo.scheduling.client.failures import Kind

NOWHERE = ["http://127.0.0.1:1/v1"]  # the tool asks its models itself
SETTINGS = LaneSettings(concurrency=64, time_limit=inf)
_CONCERN_ALL: frozenset[Kind] = frozenset({"access", "budget", "closed", "credit", "model", "store", "unavailable"})
_ERRORS: Mapping[Kind, Callable[[str], Exception]] = {
    "request": RequestRejected,
    "rejected": RequestRejected,
    "given_up": RequestRejected,
    "model": UnknownModel,
    "access": AccessDenied,
    "credit": CreditExhausted,
    "budget": CreditExhausted,
}


class BadMetric(ValueError):
    """A tool's metric that gives no score: no row can be scored, which is not the prompt's fault."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a task as the optimizer model is shown it: what is asked, and what would be right."""

    question: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What a tool answered to a row, and what it says that is worth, from 0 to 1."""

    text: str
    score: float
    feedback: str = ""


Answering = Callable[[str, int], Awaitable[Scored]]
"""The answer to a row, by its number, under a system prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One task: its rows, who answers them, and what else its model is told."""

    rows: Sequence[Row]
    answering: Answering
    instructions: str = ""


def search(
    problems: Mapping[str, Problem], *, client: Client, writer: str, system_prompt: str, settings: Mapping[str, object]
) -> RunResult:
    """The best system prompt for all of them; blocks, whether or not an event loop runs here.

    `writer` is the client's model that writes prompts; `settings` are keys of a config (`iterations`, `outer`, `seed`).
    Raises `ConfigError`, `BadMetric`, `CallFailed` where nothing can be asked any more, and `RunStopped` for other
    reasons to stop.
    """
    if empty := [name for name, problem in problems.items() if not problem.rows]:
        raise ConfigError(f"{empty[0]}: there are no rows to optimize on")
    program = _Program(problems)
    config = _config_of(program.tasks, writer=writer, system_prompt=system_prompt, settings=settings)
    prepared = Prepared(config=config, tasks=program.tasks, folder=Path())
    prompts = _Writer(client, writer)
    backends: dict[str, Backend] = {"base": program, "optimizer": prompts}

    async def run() -> RunResult:
        lanes = [Lane(name, [backend], SETTINGS) for name, backend in backends.items()]
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            return (await optimize(prepared, gateway=gateway)).result

    context = contextvars.copy_context()  # tools keep their settings there
    with ThreadPoolExecutor(max_workers=1) as thread:
        try:
            return thread.submit(context.run, asyncio.run, run()).result()
        except RunStopped:
            failed = program.failed or prompts.failed
            if failed is None:
                raise
            raise failed from failed.__cause__


def _config_of(tasks: Sequence[Task], *, writer: str, system_prompt: str, settings: Mapping[str, object]) -> RunConfig:
    """A run that looks for system prompts alone, and keeps nothing. Raises `ConfigError`."""
    return validated(
        RunConfig,
        {
            "name": "search",
            "cache": "",
            "runs": "",
            "system_prompt": system_prompt,
            "base": {"model": "program", "endpoints": NOWHERE},
            "optimizer": {"model": writer, "endpoints": NOWHERE},
            "inner": {"candidates": 0},
            "test": {"source": "none", "baseline": False},
            "tasks": [{"name": task.name, "train": "-", "user_prompt": task.user_prompt} for task in tasks],
            **settings,
        },
        source="MetaSPO(…)",
    )


class _Forwarding:
    """A backend whose calls somebody else makes.

    Attributes:
        failed: why nothing more can come of it: a call that failed for a reason that concerns all, a metric that is
            none; None as long as there is nothing of the kind.
    """

    name = "program"
    failed: CallFailed | BadMetric | None = None

    async def probe(self) -> ServerInfo:
        """Just the name."""
        return ServerInfo(models=(self.name,))

    async def load(self) -> Mapping[str, float]:
        """Shows no gauges."""
        return {}

    async def aclose(self) -> None:
        """There is nothing to let go of."""

    def error_of(self, failed: CallFailed) -> Exception:
        """What a lane understands."""
        if failed.kind in _CONCERN_ALL:
            self.failed = failed
        return _ERRORS.get(failed.kind, FatalError)(str(failed))


class _Writer(_Forwarding):
    """The model that writes prompts, as a backend whose calls a client makes: one budget, one cache."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self.name = model

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """One answer. Raises a `BackendError`: what can be tried again was."""
        with errors_as(self.error_of):
            return Reply(await self._client.acomplete(request, draw=request.draw))


class _Program(_Forwarding):
    """What a tool answers, as a backend: each request is a row under a system prompt.

    Attributes:
        tasks: what it can be asked.
    """

    def __init__(self, problems: Mapping[str, Problem]) -> None:
        self._rows: dict[str, tuple[Problem, int, _Scores, str]] = {}
        self.tasks = tuple(self._task(name, problem, several=len(problems) > 1) for name, problem in problems.items())

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """The answer to a row, a wrong one where the program fails. Raises a `BackendError` for what concerns all."""
        system, user = (message.content for message in request.messages)
        problem, number, scores, question = self._rows[user]
        try:
            scored = await problem.answering(system, number)
        except Exception as error:
            if (failed := _call_failed_in(error)) is not None and failed.kind in _CONCERN_ALL:
                raise self.error_of(failed) from failed
            if isinstance(error, BadMetric):
                self.failed = error
                raise FatalError(str(error)) from error
            scored = Scored(f"The program failed: {type(error).__name__}: {error}", 0.0)
        scores.by_answer[question, scored.text] = Grade(scored.score, scored.feedback)
        return Reply(Completion(text=scored.text, finish_reason="stop", usage=Usage(0, 0), latency=0.0))

    def _task(self, name: str, problem: Problem, *, several: bool) -> Task:
        said = "\n\n".join(filter(None, [f"Task {name}:" if several else "", problem.instructions]))
        prompt = f"{said.replace('{', '(').replace('}', ')')}\n\n{PLACEHOLDER}" if said else PLACEHOLDER
        scores = _Scores()
        examples = []
        for number, row in enumerate(problem.rows):
            question = row.question
            if prompt.replace(PLACEHOLDER, question) in self._rows:
                question += f"\n(row {number + 1})"  # equal questions may have different answers
            self._rows[prompt.replace(PLACEHOLDER, question)] = problem, number, scores, question
            examples.append(Example(question, (row.wanted,), where=f"{name}, row {number + 1}"))
        return Task(
            name=name,
            role="source",
            train=tuple(examples),
            test=(),
            answer_format=_AsItIs(),
            metric=scores,
            user_prompt=prompt,
        )


class _AsItIs:
    """An answer that is whatever came back."""

    def parse(self, text: str, /) -> str:
        return text

    def canonical(self, answer: str, /) -> str:
        return answer

    def describe(self) -> str:
        return ""


@dataclass(frozen=True)
class _Scores(MeanOfGrades):
    """What the tool said that its answers are worth, by question and answer."""

    name: str = "the program's own"
    by_answer: dict[tuple[str, str], Grade] = field(default_factory=dict)

    def grade(self, prediction: str | None, example: Example, /) -> Grade:
        return Grade(0.0) if prediction is None else self.by_answer[example.question, prediction]


def _call_failed_in(error: BaseException) -> CallFailed | None:
    """The failed call among an error's causes."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, CallFailed):
        cause = cause.__cause__ or cause.__context__
    return cause
