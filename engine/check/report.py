"""All of a check."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from metaspo.backends import Progress
from metaspo.backends.alike import told_once
from metaspo.engine.check.servers import ServerCheck, check_servers
from metaspo.engine.check.tasks import TaskCheck, check_task, context_advice
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.config.models import lane_settings
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.answers import example_data, outcome_data
from metaspo.engine.evaluation.asking import Base
from metaspo.engine.evaluation.scorecard import Status
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.runs.execute import open_for
from metaspo.engine.runs.prepare import Prepared
from metaspo.engine.tasks import Task
from metaspo.engine.tasks.graders import Grader
from metaspo.scheduling import Account, AccountStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check came to.

    Attributes:
        tasks: () where no server of the base model can be used.
        faults: why a run could not start or go on.
        mistake: whether one of them is the config's or the environment's: a run would not begin.
        advice: what the config should say.
        usage: of the examples' calls; those to the servers alone are not in it.
    """

    servers: tuple[ServerCheck, ...]
    tasks: tuple[TaskCheck, ...]
    faults: tuple[str, ...]
    advice: tuple[str, ...]
    mistake: bool = False
    usage: AccountStatistics | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "servers": [asdict(server) for server in self.servers],
            "tasks": [_task_data(task) for task in self.tasks],
            "faults": list(self.faults),
            "advice": list(self.advice),
        }


def _task_data(task: TaskCheck) -> dict[str, Any]:
    plain = asdict(replace(task, messages=()))
    return {
        **plain,
        "messages": [{"role": message.role, "content": message.content} for message in task.messages],
        "example": example_data(task.example),
        "outcome": outcome_data(task.outcome),
    }


async def check_run(prepared: Prepared, *, progress: Progress | None = None, warn: Warn = log_warning) -> CheckReport:
    """Reach every server of a config, and answer one example of each task.

    Two short calls an endpoint, which are not kept, and one a task, which is: the run finds it in the cache.

    Raises:
        RunStopped: when the base model's servers answer one call and then no more.
        StoreError: when the cache cannot be used.
    """
    config = prepared.config
    environment = environment_with_dotenv(Path(), prepared.folder, prepared.beside)
    servers = await check_servers(
        config, environment=environment, progress=progress, logs=prepared.server_logs(alone=False), warn=warn
    )
    faults = told_once((server.endpoint, f"{server.role}: {server.fault}") for server in servers if server.fault)
    mistake = any(server.mistake for server in servers)
    try:
        check_optimizable(config, prepared.tasks, source=prepared.source)
    except ConfigError as error:
        faults.append(str(error))
        mistake = True
    tasks: tuple[TaskCheck, ...] = ()
    usage = None
    answering = {server.role for server in servers if not server.fault}
    if "base" in answering:
        graded = config.judge is None or "judge" in answering
        asked = [task for task in prepared.tasks if graded or not isinstance(task.metric, Grader)]
        tasks, usage = await _check_tasks(prepared, asked, progress=progress, warn=warn)
    faults += [task.fault for task in tasks if task.fault]
    return CheckReport(
        servers=servers,
        tasks=tasks,
        faults=tuple(faults),
        advice=tuple(_advice(prepared, servers, tasks)),
        mistake=mistake,
        usage=usage,
    )


async def _check_tasks(
    prepared: Prepared, tasks: Sequence[Task], *, progress: Progress | None, warn: Warn
) -> tuple[tuple[TaskCheck, ...], AccountStatistics]:
    config = prepared.config
    base_only = replace(prepared, config=config.model_copy(update={"optimizer": None}))
    account = Account("check")
    async with open_for([base_only], progress=progress, warn=warn) as (gateway, (names,)):
        base = Base.of(config, gateway, names, account)
        checks = [await check_task(task, base, config) for task in tasks]
        await gateway.settled(account)
    return tuple(checks), account.statistics()


def _of_servers(servers: Sequence[ServerCheck]) -> Iterator[str]:
    """Their advice, each once; with the endpoints, where it is not that of all of a model."""
    whose: dict[tuple[str, str], list[str]] = {}
    for server in servers:
        for advice in server.advice:
            whose.setdefault((server.role, advice), []).append(server.endpoint)
    for (role, advice), endpoints in whose.items():
        of_all = len(endpoints) == sum(
            server.role == role and (bool(server.advice) or not server.fault) for server in servers
        )
        yield advice if of_all else f"{advice} (said by {', '.join(endpoints)})"


def _advice(prepared: Prepared, servers: Sequence[ServerCheck], tasks: Sequence[TaskCheck]) -> Iterator[str]:
    """What the config should say, by its servers, by its tasks, and by both together."""
    config = prepared.config
    yield from _of_servers(servers)
    yield from chain.from_iterable(task.advice for task in tasks)
    unread = [task for task in tasks if task.outcome.status is Status.MALFORMED and not task.outcome.broken]
    if any(task.role == "source" for task in unread):
        yield (
            "answers that cannot be read count as wrong, and optimizing mends that by itself where a prompt can: next "
            f"`metaspo plan {prepared.source}`, then `metaspo optimize {prepared.source}`"
        )
    contexts = [server.context for server in servers if server.role == "base" and server.context]
    yield from context_advice(tasks, context=min(contexts, default=None), max_tokens=config.base.max_tokens)
    yield from (
        f"what {table.model} costs is not known: with {role}.prices = {{input = …, output = …}} (0 for your own "
        "server) runs say what they cost, and a cap in dollars can be set"
        for role, table in config.models.items()
        if lane_settings(table).prices is None
    )
