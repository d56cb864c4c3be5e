"""What a run will need, before its first call: calls, tokens, dollars, minutes.

Calls are exact upper bounds: every candidate proposed and scored in full, nothing in the cache, no answer malformed.
Tokens, dollars and minutes are estimates, from the lengths of the texts there are and the assumptions below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metaspo.backends import Usage
from metaspo.engine.config.models import lane_settings
from metaspo.engine.config.schema import ModelTable, RunConfig
from metaspo.engine.prompts import PromptPair, render
from metaspo.engine.strategies import CallBound, RoundSize, inner_strategy, outer_strategy
from metaspo.engine.tasks import Task

CHARS_PER_TOKEN = 4.0
GROWN_SYSTEM_TOKENS = 200  # a system prompt that an optimizer has written
ANSWER_TOKENS = 60  # of the base model, unless max_tokens is lower
OPTIMIZER_ANSWER_TOKENS = 500
META_PROMPT_TOKENS = 400
BASE_SECONDS = 1.0  # latency of one base call at the assumed concurrency
OPTIMIZER_SECONDS = 8.0
AUTO_CONCURRENCY = 32  # what "auto" is taken for


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How many calls each stage makes at most.

    Attributes:
        initial, inner, outer: of the base model on train splits.
        test: of the base model on test splits.
        optimizer: of the optimizer model, redraws of malformed answers not counted.
    """

    initial: int
    inner: int
    outer: int
    test: int
    optimizer: int

    @property
    def base(self) -> int:
        """All calls of the base model."""
        return self.initial + self.inner + self.outer + self.test

    def __add__(self, other: "Calls") -> "Calls":
        """Both together, stage by stage."""
        return Calls(
            initial=self.initial + other.initial,
            inner=self.inner + other.inner,
            outer=self.outer + other.outer,
            test=self.test + other.test,
            optimizer=self.optimizer + other.optimizer,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """What one model will be asked, and what that takes.

    Attributes:
        dollars: None where the model's prices are not known; 0 for one that runs locally.
        minutes: at the lane's limits and the assumed latency.
    """

    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run's needs; `minutes` is at most the sum over lanes, since they wait for each other."""

    calls: Calls
    base: LanePlan
    optimizer: LanePlan | None

    @property
    def dollars(self) -> float | None:
        """All lanes together; None if a lane's prices are not known."""
        parts = [self.base.dollars, self.optimizer.dollars if self.optimizer else 0.0]
        priced = [part for part in parts if part is not None]
        return sum(priced) if len(priced) == len(parts) else None

    @property
    def minutes(self) -> float:
        """Base and optimizer one after the other."""
        return self.base.minutes + (self.optimizer.minutes if self.optimizer else 0.0)


def count_calls(config: RunConfig, tasks: Sequence[Task]) -> Calls:
    """Upper bounds of all calls of a run."""
    sources = [task for task in tasks if task.role == "source"]
    targets = [task for task in tasks if task.role == "target"]
    train = sum(len(task.train) for task in sources)
    test = sum(len(task.test) for task in sources)
    target_test = sum(len(task.test) for task in targets)
    kept = _kept(config)
    final = {"kept": max(kept, default=1), "best": 1, "none": 0}[config.test.source]
    before = target_test + (test if config.test.source != "none" else 0) if config.test.baseline else 0
    rounds = [
        (times, proposing(config, [len(task.train) for task in sources], kept=count)) for count, times in kept.items()
    ]
    return Calls(
        initial=train,
        inner=config.iterations * config.inner.candidates * train
        + sum(times * work["inner"].base for times, work in rounds),
        outer=sum(times * config.outer.candidates * count * train for count, times in kept.items())
        + sum(times * work["outer"].base for times, work in rounds),
        test=final * test + target_test + before,
        optimizer=sum(times * (work["inner"].optimizer + work["outer"].optimizer) for times, work in rounds),
    )


def _kept(config: RunConfig) -> dict[int, int]:
    """User prompts of a task when the outer loop starts, and in how many iterations it is so many."""
    keep, candidates, left = config.inner.keep, config.inner.candidates, config.iterations
    rising = range(1 + candidates, keep, candidates)[:left] if candidates else range(1, 1)
    kept = dict.fromkeys(rising, 1)
    if left > len(rising):
        kept[keep if candidates else 1] = left - len(rising)
    return kept


def proposing(config: RunConfig, trains: Sequence[int], *, kept: int) -> dict[Literal["inner", "outer"], CallBound]:
    """What proposing takes in one iteration at most, scoring of what is proposed not counted.

    Args:
        trains: sizes of the source tasks' train splits.
        kept: user prompts of a task when the outer loop starts.
    """
    inner = inner_strategy(config.inner.strategy, config.inner.options)
    outer = outer_strategy(config.outer.strategy, config.outer.options)
    rounds = [
        inner.work(RoundSize(level="user", candidates=config.inner.candidates, tasks=1, nodes=1, rows=rows))
        for rows in trains
    ]
    whole = RoundSize(
        level="system",
        candidates=config.outer.candidates,
        tasks=len(trains),
        nodes=kept * len(trains),
        rows=kept * sum(trains),
    )
    return {
        "inner": CallBound(base=sum(work.base for work in rounds), optimizer=sum(work.optimizer for work in rounds)),
        "outer": outer.work(whole),
    }


def plan_run(config: RunConfig, tasks: Sequence[Task]) -> Plan:
    """Estimate a whole run."""
    return plan_calls(config, tasks, count_calls(config, tasks))


def plan_calls(config: RunConfig, tasks: Sequence[Task], calls: Calls) -> Plan:
    """Estimate what so many calls take, whatever they are made for."""
    question = _mean_prompt_tokens(config, tasks)
    base_answer = min(ANSWER_TOKENS, config.base.max_tokens)
    base = _lane(config.base, calls.base, question + GROWN_SYSTEM_TOKENS, base_answer, seconds=BASE_SECONDS)
    optimizer = None
    if config.optimizer is not None and calls.optimizer:
        shown = max(config.inner.failures, config.outer.failures * sum(task.role == "source" for task in tasks))
        prompt = META_PROMPT_TOKENS + shown * (question + GROWN_SYSTEM_TOKENS + base_answer)
        optimizer = _lane(config.optimizer, calls.optimizer, prompt, OPTIMIZER_ANSWER_TOKENS, seconds=OPTIMIZER_SECONDS)
    return Plan(calls=calls, base=base, optimizer=optimizer)


def _mean_prompt_tokens(config: RunConfig, tasks: Sequence[Task]) -> float:
    """Mean length of a base request under the first prompts, in tokens."""
    lengths = [
        sum(len(message.content) for message in render(pair, example.question, roles=config.roles))
        for task in tasks
        for pair in [PromptPair(config.system_prompt, task.user_prompt)]
        for example in (*task.train, *task.test)
    ]
    return sum(lengths) / max(len(lengths), 1) / CHARS_PER_TOKEN


def _lane(table: ModelTable, calls: int, prompt: float, answer: float, *, seconds: float) -> LanePlan:
    settings = lane_settings(table)
    tokens_in, tokens_out = round(calls * prompt), round(calls * answer)
    usage = Usage(tokens_in, tokens_out)
    concurrency = AUTO_CONCURRENCY if settings.concurrency == "auto" else settings.concurrency
    limits = [calls * seconds / concurrency / 60]
    if settings.requests_per_minute:
        limits.append(calls / settings.requests_per_minute)
    if settings.tokens_per_minute:
        limits.append((tokens_in + tokens_out) / settings.tokens_per_minute)
    dollars = settings.prices.dollars(usage) if settings.prices else None
    return LanePlan(
        model=table.model,
        calls=calls,
        prompt_tokens=tokens_in,
        completion_tokens=tokens_out,
        dollars=dollars,
        minutes=max(limits),
    )
