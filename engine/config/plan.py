"""What a run will need, before its first call: calls, tokens, dollars, minutes.

Calls are exact upper bounds, but for those of the optimizer with `train_calls` (`count_calls`). Tokens, dollars and
minutes are estimates, from the lengths of the texts there are and the assumptions below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from metaspo.backends import Usage, local_size, local_threads
from metaspo.engine.config.calls import Calls, count_calls
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import lane_settings
from metaspo.engine.config.presets import in_papers_shape
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.money import total
from metaspo.engine.prompts import PromptPair, render
from metaspo.engine.tasks import Task
from metaspo.scheduling import LaneSettings
from metaspo.scheduling.estimate import IMAGE_CHARS

SERVERS = ("openai-compatible", "vllm")  # of which there may be several
CHARS_PER_TOKEN = 4.0
GROWN_SYSTEM_TOKENS = 200  # a system prompt that an optimizer has written
ANSWER_TOKENS = 60  # of the base model, unless max_tokens is lower
OPTIMIZER_ANSWER_TOKENS = 500
META_PROMPT_TOKENS = 400
RUBRIC_TOKENS = 250  # what a judge is told beside question and answer
VERDICT_TOKENS = 60
BASE_SECONDS = 1.0  # latency of one base call at the assumed concurrency
OPTIMIZER_SECONDS = 8.0
AUTO_CONCURRENCY = 32  # what "auto" is taken for
# Of a core, for a token read or written by a model on this machine: measured with files of 98 MB and 491 MB.
LOCAL_SECONDS = 0.004
LOCAL_SECONDS_PER_BYTE = 1.6e-11
LOCAL_BYTES = 500_000_000  # of a file whose size is not known yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the models' servers are taken for.

    Attributes:
        speed: answer tokens a second of one replica that has all the work it can take; None: 32 answers at once, a
            second each.
        prompt_tokens, answer_tokens: of a call of the base model in the mean; None for an estimate from the texts.
        optimizer_seconds: that a call of the optimizer model takes in the mean.
        optimizer_prompt_tokens, optimizer_answer_tokens: of one, in the mean; None for an estimate.
    """

    speed: float | None = None
    prompt_tokens: float | None = None
    answer_tokens: float | None = None
    optimizer_seconds: float = OPTIMIZER_SECONDS
    optimizer_prompt_tokens: float | None = None
    optimizer_answer_tokens: float | None = None


ASSUMED: Final = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """What one model will be asked, and what that takes.

    Attributes:
        dollars: None where the model's prices are not known; 0 for one that runs locally.
        most_dollars: the same if every answer is as long as `max_tokens` lets it, as a thinking model's may be.
        server_minutes: of one server, at the assumed latency or speed; of a local model, by its tokens and threads.
        limit_minutes: at the lane's limits, for a provider that counts all the tokens that a call may answer with.
        least_tokens, most_tokens: that limits count: those that calls use at the least, and those that they declare.
    """

    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None
    most_dollars: float | None
    server_minutes: float
    limit_minutes: float
    least_tokens: int
    most_tokens: int

    @property
    def minutes(self) -> float:
        """Whichever it has to wait for."""
        return max(self.server_minutes, self.limit_minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run's needs; `minutes` is at most the sum over lanes, since they wait for each other.

    Attributes:
        paper: the calls of the same run in the paper's shape.
    """

    calls: Calls
    paper: Calls
    base: LanePlan
    optimizer: LanePlan | None
    judge: LanePlan | None = None

    @property
    def lanes(self) -> dict[str, LanePlan]:
        """Those that are asked, by role."""
        lanes = {"base": self.base, "optimizer": self.optimizer, "judge": self.judge}
        return {role: lane for role, lane in lanes.items() if lane is not None}

    @property
    def dollars(self) -> float | None:
        """All lanes together; None if a lane's prices are not known."""
        return total(lane.dollars for lane in self.lanes.values())

    @property
    def most_dollars(self) -> float | None:
        """The same if every answer is as long as it may be."""
        return total(lane.most_dollars for lane in self.lanes.values())

    @property
    def minutes(self) -> float:
        """One lane after the other."""
        return sum(lane.minutes for lane in self.lanes.values())


def plan_run(config: RunConfig, tasks: Sequence[Task], *, pace: Pace = ASSUMED) -> Plan:
    """Estimate a whole run. Raises `ModelFileUnavailable` for a local model that there is not."""
    return plan_calls(config, tasks, count_calls(config, tasks), pace=pace)


def plan_calls(config: RunConfig, tasks: Sequence[Task], calls: Calls, *, pace: Pace = ASSUMED) -> Plan:
    """Estimate what so many calls take, whatever they are made for. Raises `ModelFileUnavailable`."""
    question = _mean_prompt_tokens(config, tasks)
    base_answer = pace.answer_tokens or min(ANSWER_TOKENS, config.base.max_tokens)
    of_base = calls.base if config.judge else calls.base + calls.judge
    prompt = pace.prompt_tokens or question + GROWN_SYSTEM_TOKENS
    least = prompt + base_answer if pace.prompt_tokens else question
    base = _lane(config.base, of_base, prompt, base_answer, own=question, least=least, seconds=BASE_SECONDS, pace=pace)
    optimizer = None
    if config.optimizer is not None and calls.optimizer:
        shown = max(config.inner.failures, config.outer.failures * sum(task.role == "source" for task in tasks))
        estimate = META_PROMPT_TOKENS + shown * (question + GROWN_SYSTEM_TOKENS + base_answer)
        prompt = pace.optimizer_prompt_tokens or estimate
        answer = pace.optimizer_answer_tokens or OPTIMIZER_ANSWER_TOKENS
        optimizer = _lane(
            config.optimizer,
            calls.optimizer,
            prompt,
            answer,
            own=prompt,
            least=prompt + answer if pace.optimizer_prompt_tokens else META_PROMPT_TOKENS,
            seconds=pace.optimizer_seconds,
        )
    judge = None
    if config.judge is not None and calls.judge:
        read = question + base_answer
        prompt = RUBRIC_TOKENS + read
        judge = _lane(config.judge, calls.judge, prompt, VERDICT_TOKENS, own=read, least=question, seconds=BASE_SECONDS)
    paper = count_calls(in_papers_shape(config), tasks)
    return Plan(calls=calls, paper=paper, base=base, optimizer=optimizer, judge=judge)


def _mean_prompt_tokens(config: RunConfig, tasks: Sequence[Task]) -> float:
    """Mean length of a base request under the first prompts, in tokens."""
    lengths = [
        sum(len(message.content) for message in render(pair, example, roles=config.roles))
        + IMAGE_CHARS * len(example.images)
        for task in tasks
        for pair in [PromptPair(config.system_prompt, task.user_prompt)]
        for example in (*task.train, *task.test)
    ]
    return sum(lengths) / max(len(lengths), 1) / CHARS_PER_TOKEN


def _local_seconds(table: ModelTable) -> float:
    """For a token of a model on this machine. Raises `ModelFileUnavailable`."""
    size = local_size(table.model) or LOCAL_BYTES
    return (LOCAL_SECONDS + size * LOCAL_SECONDS_PER_BYTE) / (table.threads or local_threads())


def _lane(
    table: ModelTable,
    calls: int,
    prompt: float,
    answer: float,
    *,
    own: float,
    least: float,
    seconds: float,
    pace: Pace = ASSUMED,
) -> LanePlan:
    """What calls of so many tokens take; `own`: of a prompt's tokens those that no other call begins with; `least`:
    that a call uses at the least."""
    settings = lane_settings(table)
    tokens_in, tokens_out = round(calls * prompt), round(calls * answer)
    most_out = round(calls * max(answer, table.max_tokens))
    concurrency = AUTO_CONCURRENCY if settings.concurrency == "auto" else settings.concurrency
    if pace.speed is not None and table.backend != "openai":
        server_seconds = tokens_out / pace.speed
    elif table.backend == "local":  # what calls have in common, the system prompt, is read once
        server_seconds = calls * (own + answer) * _local_seconds(table)
    else:
        server_seconds = calls * seconds / concurrency
    prices = settings.prices
    most_tokens = round(calls * (prompt + max(answer, table.max_tokens)))
    return LanePlan(
        model=table.model,
        calls=calls,
        prompt_tokens=tokens_in,
        completion_tokens=tokens_out,
        dollars=prices.dollars(Usage(tokens_in, tokens_out)) if prices else None,
        most_dollars=prices.dollars(Usage(tokens_in, most_out)) if prices else None,
        server_minutes=server_seconds / 60,
        limit_minutes=limit_minutes(settings, calls=calls, tokens=most_tokens),
        least_tokens=round(calls * least),
        most_tokens=most_tokens,
    )


def limit_minutes(settings: LaneSettings, *, calls: int, tokens: int) -> float:
    """How long a lane's limits hold so many calls and tokens back; 0 where there are none."""
    of_requests = calls / settings.requests_per_minute if settings.requests_per_minute else 0.0
    return max(of_requests, tokens / settings.tokens_per_minute if settings.tokens_per_minute else 0.0)
