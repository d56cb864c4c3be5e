"""What one seed of the simulation draws: a small run or two, servers, trouble, and interruptions.

A plan is data: the same seed gives the same plan, and the plan with its seed gives the same events to the last one.
Times are virtual seconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Literal

from simulation_dialects import Dialect
from world import DOUBT, JUDGE, SKILLS, doubted, judged, make_config, make_task, with_more, with_prompts

from metaspo.backends import Backend
from metaspo.bench.servers.simulated_openai import OpenAIModel
from metaspo.bench.servers.simulated_vllm import VLLMModel
from metaspo.engine import RunConfig
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import lane_settings
from metaspo.engine.config.schema import OuterTable
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.metrics import build_metric
from metaspo.scheduling import Lane

LaneName = Literal["base", "optimizer"]
Kind = Literal[
    "rate limited",  # 429: requests or tokens, with Retry-After in seconds, in milliseconds, or without
    "slow_down",  # 429: traffic grew too fast
    "overloaded",  # 503
    "server fault",  # 500, 502, 408, with a JSON body or an HTML page
    "reset before",  # a stale keep-alive: the connection breaks before any answer
    "reset within",  # ... and after the server has worked
    "hang",  # no answer within the time limit
    "stuck",  # not even the time limit is kept
    "aborted",  # `finish_reason: abort`
    "truncated",  # half of a JSON body
    "no choices",  # a body without any answer
    "error inside",  # status 200, and an error in the body
    "down",  # nothing listens; calls under way break
    "slow",  # everything takes longer
    "limits",  # the provider's limits change
    "clings",  # a call that is given up goes on for a while
    "no credit",  # 429 `insufficient_quota`: fatal
    "no access",  # 401: fatal
    "no model",  # 404: fatal
]
REFUSALS: tuple[Kind, ...] = ("rate limited", "slow_down", "overloaded", "server fault")
BREAKS: tuple[Kind, ...] = ("reset before", "reset within", "hang", "stuck")
HALVES: tuple[Kind, ...] = ("aborted", "truncated", "no choices", "error inside")
STATES: tuple[Kind, ...] = ("down", "slow", "limits", "clings")
FATAL: tuple[Kind, ...] = ("no credit", "no access")
FOR_GOOD: tuple[Kind, ...] = ("overloaded", "server fault", "no access", "no model", "down")
URGENT = (-1,)  # goes before whatever a run asks
LONG_BATCH = 8_500  # more than a gateway lets in at once
GUEST = "A guest asks"  # so begins all that guests say
HEADERS = ("requests_limit", "requests_remaining", "requests_reset", "tokens_limit", "tokens_remaining", "tokens_reset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of trouble at one server, for a while.

    Attributes:
        replica: which server of the lane; None for all of them.
        share: of the calls that meet it.
        factor: how much slower, or the change of the limits.
    """

    kind: Kind
    lane: LaneName
    replica: int | None
    start: float
    seconds: float
    share: float = 1.0
    factor: float = 1.0

    @property
    def for_good(self) -> bool:
        """Whether it is never over."""
        return self.seconds == inf

    @property
    def end(self) -> float:
        """When it is over."""
        return self.start + self.seconds

    def at(self, now: float) -> bool:
        """Whether it is on."""
        return self.start <= now < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """The end of a session before its time: `kill` as kill -9 does it, `cancel` as Ctrl-C does it.

    Attributes:
        after: seconds after the session began.
        rest: seconds until the next one begins.
    """

    kind: Literal["kill", "cancel"]
    after: float
    rest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Somebody else who uses the gateway, beside the runs and with an account of their own.

    Attributes:
        numbers: of the questions they ask: one alone, or several as a batch. Guests ask much the same.
        after: seconds after the session began.
        leaves: after so many seconds without an answer; `again`: and asks the same at once again.
        caps: of their budget.
    """

    lane: LaneName
    numbers: tuple[int, ...]
    priority: tuple[int, ...]
    after: float
    leaves: float | None
    again: bool
    caps: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is drawn.

    Attributes:
        configs: of the runs, which go on together through one gateway.
        unsteady: a model that is asked the same again answers differently; the first answer kept must then count.
        refuses: the servers refuse some prompts for good.
        malformed: share of the optimizer's answers that cannot be read.
        missing_headers: of the provider's `x-ratelimit-*` headers.
        disk: the real store on disk, else one in memory that forgets what was not written yet.
        store_seconds: until an answer is on disk.
        judged: on whose lane a judge is, which grades the answers of some tasks; None for none.
        stands_by: whether the last of several replicas is asked only what the others do not take.
        starts: seconds that the base model's servers take to start; None where they are there already.
    """

    seed: int
    configs: tuple[RunConfig, ...]
    tasks: tuple[Task, ...]
    replicas: int
    vllm: VLLMModel
    provider: OpenAIModel
    missing_headers: frozenset[str]
    unsteady: bool
    refuses: bool
    malformed: float
    disk: bool
    store_seconds: float
    faults: tuple[Fault, ...]
    interruptions: tuple[Interruption, ...]
    guests: tuple[Guest, ...]
    judged: LaneName | None
    stands_by: bool
    starts: float | None

    def _examples(self) -> list[Example]:
        return [example for task in self.tasks for example in (*task.train, *task.test)]

    def lane(self, name: str, servers: Sequence[Backend]) -> Lane:
        """A lane over its servers."""
        first = len(servers) - (self.stands_by and name == "base")
        return Lane(name, servers[:first], lane_settings(getattr(self.configs[0], name)), standby=servers[first:])

    @property
    def others_answer(self) -> bool:
        """Whether nothing is wrong with the base model's servers, and the judge's, but that one refuses for good."""
        faults = [fault for fault in self.faults if fault.lane in ("base", self.judged)]
        return len(faults) == 1 and faults[0].for_good and not self.refuses

    def drawn(self) -> Counter[str]:
        """What is in it, for the table over many seeds."""
        first = self.configs[0]
        found = Counter[str](f"fault: {fault.kind}" for fault in self.faults)
        found.update(f"planned {interruption.kind}" for interruption in self.interruptions)
        found.update({"seeds": 1, "runs": len(self.configs), f"{self.replicas} replicas": 1})
        found.update(f"{lane} {_of(lane_setting)}" for lane, lane_setting in _concurrencies(first))
        marks = {
            "early rejection": first.early_rejection,
            "two runs at once": len(self.configs) > 1,
            "several first prompts": first.system_prompts or any(task.user_prompts for task in self.tasks),
            "named prompts": any(task.form for task in self.tasks),
            "guards": any(task.role == "guard" for task in self.tasks),
            "demonstrations": first.inner.demonstrations,
            "wording": first.outer.is_set,
            "fixed parts": first.outer.fixed or any(task.fixed for task in self.tasks),
            "turns before questions": any(example.history for example in self._examples()),
            "images": any(example.images for example in self._examples()),
            "macro-F1": any(task.metric.name == "macro-f1" for task in self.tasks),
            "strategy embedded": "embedded" in (first.inner.strategy, first.outer.strategy),
            "budget": first.budget.model_fields_set,
            "told limits": any(_told(first, lane) for lane in ("base", "optimizer")),
            "headers missing": self.missing_headers,
            "unsteady model": self.unsteady,
            "refusing servers": self.refuses,
            "store on disk": self.disk,
            "no faults": not self.faults,
            "a replica that refuses for good": any(fault.for_good for fault in self.faults),
            "guests": self.guests,
            "a guest leaves": any(guest.leaves is not None for guest in self.guests),
            "an urgent guest": any(guest.priority == URGENT for guest in self.guests),
            "a batch above the window": any(len(guest.numbers) == LONG_BATCH for guest in self.guests),
            "judges": self.judged,
            "graders": any(task.metric.name == DOUBT for task in self.tasks),
            "a replica stands by": self.stands_by,
            "servers to be started": self.starts is not None,
            "a limit per day": first.optimizer is not None and first.optimizer.requests_per_day is not None,
        }
        found.update(name for name, there in marks.items() if there)
        found.update(odd for lane in ("base", "optimizer") for odd in Dialect(self.seed, lane).drawn)
        return found


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(f"simulation plan {seed}")
    judges = Random(f"simulation judges {seed}")
    whose: LaneName | None = judges.choice(("base", "optimizer")) if judges.random() < 0.25 else None
    runs = 2 if rng.random() < 0.3 else 1
    config = _config(rng)
    if whose:
        config = config.model_copy(update={"judge": ModelTable.model_validate(JUDGE)})
    config = _demonstrating(Random(f"simulation demonstrations {seed}"), config)
    config, wording = _worded(Random(f"simulation wording {seed}"), config)
    replicas = rng.randint(1, 3)
    named = Random(f"simulation named prompts {seed}")
    configs = (config, _sibling(rng, config))[:runs]
    tasks = _judged(judges, _tasks(rng)) if whose else _tasks(rng)
    tasks = _conversing(Random(f"simulation conversations {seed}"), _fixed(wording, tasks))
    return Plan(
        seed=seed,
        configs=configs,
        tasks=_named(named, config, tasks),
        replicas=replicas,
        vllm=_vllm(rng),
        provider=_provider(rng, config),
        missing_headers=frozenset(name for name in HEADERS if rng.random() < 0.3),
        unsteady=rng.random() < 0.25,
        refuses=rng.random() < 0.2,
        malformed=rng.choice((0.0, 0.15, 0.15, 0.4)),
        disk=rng.random() < 0.1,
        store_seconds=rng.choice((0.0, 0.002, 0.02, 0.2)),
        faults=(
            *(_fault(rng, replicas) for _ in range(rng.choice((0, 1, 2, 2, 3, 4, 6)))),
            *_refusing(Random(f"simulation refuses for good {seed}"), replicas),
        ),
        interruptions=tuple(_interruption(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 4)))),
        guests=tuple(_guest(rng) for _ in range(rng.choice((0, 0, 1, 2, 4)))),
        judged=whose,
        stands_by=replicas > 1 and Random(f"simulation stands by {seed}").random() < 0.25,
        starts=rng.uniform(0, 20) if rng.random() < 0.1 else None,
    )


def _config(rng: Random) -> RunConfig:
    inner = {"strategy": _strategy(rng), "candidates": rng.randint(0, 3), "keep": rng.randint(1, 2)}
    outer = {"strategy": _strategy(rng), "candidates": rng.randint(0, 4), "failures": rng.randint(1, 2)}
    changes: dict[str, Any] = {
        "seed": rng.randrange(10**6),
        "runs": "runs",
        "iterations": rng.choice((1, 1, 2)),
        "redraws": rng.randint(0, 2),
        "system_prompts": rng.choice(((), (), (), ("Help.",), ("You are exact.", "You are careful and patient."))),
        "ties": rng.choice(("shorter", "shorter", "earlier")),
        "early_rejection": rng.random() < 0.7,
        "roles": rng.choice(("separate", "separate", "merged")),
        "inner": {**inner, "failures": rng.randint(1, 3)},
        "outer": outer,
        "test": {"source": rng.choice(("kept", "best", "none")), "baseline": rng.random() < 0.5},
        "budget": _budget(rng),
    }
    endpoint = {"endpoints": ["http://127.0.0.1:1/v1"]}  # the lanes are the simulation's own
    changes["base"] = {"model": "answerer", "max_tokens": 8, **endpoint, **_lane(rng, "base")}
    changes["optimizer"] = {"model": "writer", **endpoint, **_lane(rng, "optimizer")}
    return make_config(changes)


def _demonstrating(rng: Random, config: RunConfig) -> RunConfig:
    """Right answers in one candidate of each inner round, in a fifth of the plans."""
    shown = rng.randint(1, 3) if rng.random() < 0.2 else 0
    return config.model_copy(update={"inner": config.inner.model_copy(update={"demonstrations": shown})})


def _worded(rng: Random, config: RunConfig) -> tuple[RunConfig, Random | None]:
    """What prompts must keep to, in a quarter of the plans; the generator goes on to their tasks."""
    if rng.random() >= 0.25:
        return config, None
    drawn: tuple[dict[str, Any], ...] = (
        {"max_chars": rng.randint(20, 60)},
        {"must_not_contain": (rng.choice(SKILLS),)},
        {"must_contain": ("assistant",)},
        {"fixed": (config.system_prompt,)},
        {},
    )
    first = config.system_prompts  # which must keep to it, too
    fitting = [each for each in drawn if not any(map(OuterTable.model_validate(each).fault, first))]
    return config.model_copy(update={"outer": config.outer.model_copy(update=rng.choice(fitting))}), rng


def _fixed(rng: Random | None, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """With a part of some tasks' first user prompts that stays."""
    part = {task.name: task.user_prompt.partition(" is ")[0] for task in tasks}
    return tuple(
        replace(task, fixed=(part[task.name],)) if rng and task.role == "source" and rng.random() < 0.5 else task
        for task in tasks
    )


def _conversing(rng: Random, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """With turns and images at some tasks' examples, in a third of the plans."""
    if rng.random() >= 1 / 3:
        return tuple(tasks)
    return tuple(with_more(task, rng) if rng.random() < 0.7 else task for task in tasks)


def _named(rng: Random, config: RunConfig, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """With one task of named prompts and numbers, answered by a program, in a quarter of the plans that may have it."""
    inner, first = config.inner, tasks[0]
    if rng.random() >= 0.25 or first.fixed or inner.strategy != "metaspo" or inner.demonstrations:
        return tasks
    return (with_prompts(replace(first, user_prompts=()), together=rng.random() < 0.5), *tasks[1:])


def _strategy(rng: Random) -> str:
    return "embedded" if rng.random() < 0.2 else "metaspo"


def _budget(rng: Random) -> dict[str, float]:
    if rng.random() > 0.4:
        return {}
    caps = {"calls": rng.randint(10, 150), "tokens": rng.randint(6_000, 40_000), "dollars": rng.uniform(0.002, 0.02)}
    return {name: caps[name] for name in rng.sample(sorted(caps), rng.randint(1, 2))}


def _lane(rng: Random, lane: LaneName) -> dict[str, Any]:
    """Settings of one lane: how wide, which limits are told, how long it tries."""
    wide = 12 if lane == "base" else 6
    table: dict[str, Any] = {
        "concurrency": "auto" if rng.random() < 0.4 else rng.randint(1, wide),
        "time_limit": rng.uniform(10, 40),
        "attempts": rng.randint(2, 8),
        "patience": rng.uniform(30, 300),
    }
    if rng.random() < 0.3:
        table["requests_per_minute"] = rng.randint(*((60, 1500) if lane == "base" else (12, 200)))
    if rng.random() < 0.3:
        table["tokens_per_minute"] = rng.randint(*((8_000, 90_000) if lane == "base" else (15_000, 150_000)))
    if lane == "optimizer" and rng.random() < 0.1:
        table["requests_per_day"] = rng.randint(15, 60)
    if lane == "optimizer" or rng.random() < 0.2:
        table["prices"] = {"input": 0.15, "output": 0.60, "cached": 0.075}
    return table


def _sibling(rng: Random, config: RunConfig) -> RunConfig:
    """A second run that asks much of what the first one asks at the same time, and gives up on it at other times."""
    caps = {name: getattr(config.budget, name) * 3 for name in config.budget.model_fields_set}
    changes: dict[str, Any] = rng.choice(
        (
            {"seed": config.seed + 1},
            {"early_rejection": not config.early_rejection},
            {"budget": config.budget.model_copy(update=caps)},
        )
    )
    return config.model_copy(update={"name": "other", **changes})


def _tasks(rng: Random) -> tuple[Task, ...]:
    metric = build_metric(rng.choice(("accuracy", "accuracy", "macro-f1")), base_dir=Path())
    names = "abc"[: rng.choice((1, 1, 2, 2, 3))]
    sources = [
        replace(
            make_task(name, train=rng.randint(2, 9), test=rng.randint(1, 3)),
            user_prompts=rng.choice(((), (), (), ("Is {question} even?",), ("Be exact: {question}?", "{question}"))),
        )
        for name in names
    ]
    targets = [make_task("unseen", role="target", test=2)] if rng.random() < 0.4 else []
    return tuple(replace(task, metric=metric) for task in (*sources, *targets, *_guards(rng)))


def _guards(rng: Random) -> list[Task]:
    """What no system prompt may fall too far on, in a third of the plans."""
    count = rng.choice((0, 0, 0, 0, 1, 2))
    return [
        replace(
            make_task(f"guard{number}", role="guard", train=rng.randint(1, 6), test=rng.randint(0, 2)),
            tolerance=rng.choice((0.0, 0.1, 0.4)),
        )
        for number in range(count)
    ]


def _judged(rng: Random, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """By a judge, or where that is not drawn by a function that asks its model."""
    settings: dict[str, Any] = rng.choice(({}, {"against": "gold"}, {"against": "first"}, {"reasons": False}))
    return tuple(judged(task, **settings) if rng.random() < 0.7 else doubted(task) for task in tasks)


def _vllm(rng: Random) -> VLLMModel:
    return VLLMModel(
        max_num_seqs=rng.randint(2, 32),
        kv_blocks=rng.choice((150, 400, 2_000)),
        step_seconds=rng.choice((0.01, 0.05, 0.2, 0.5)),
        sequence_seconds=rng.choice((0.000_03, 0.01)),
        prompt_seconds=rng.choice((0.000_04, 0.000_5)),
        queue_bound=rng.choice((None, None, None, 4, 12)),
    )


def _provider(rng: Random, config: RunConfig) -> OpenAIModel:
    """The optimizer's provider; where the lane was told limits, they are its own more often than not."""
    told = config.optimizer
    assert told is not None
    requests = told.requests_per_minute if rng.random() < 0.6 else None
    tokens = told.tokens_per_minute if rng.random() < 0.6 else None
    return OpenAIModel(
        requests_per_minute=requests or rng.choice((None, rng.randint(20, 400))),
        tokens_per_minute=tokens or rng.choice((None, rng.randint(40_000, 400_000))),
        burst_seconds=rng.choice((1.0, 1.0, 10.0, 60.0)),
        counts_max_tokens=rng.random() < 0.5,
        slow_down_above=rng.choice((None, None, None, 2)),
        first_seconds=rng.choice((0.1, 0.5, 2.0)),
        shows_headers=rng.random() < 0.7,
    )


def _fault(rng: Random, replicas: int) -> Fault:
    lane: LaneName = rng.choice(("base", "optimizer"))
    families: tuple[tuple[Kind, ...], ...] = (REFUSALS, REFUSALS, BREAKS, HALVES, STATES, STATES, FATAL)
    kind = rng.choice(rng.choice(families))
    if kind == "limits":
        lane = "optimizer"
    count = replicas if lane == "base" else 1
    return Fault(
        kind=kind,
        lane=lane,
        replica=rng.randrange(count) if rng.random() < 0.5 else None,
        start=0.0 if rng.random() < 0.2 else rng.expovariate(1 / 12),
        seconds=min(0.5 + rng.expovariate(1 / (5 if kind in FATAL else 30)), 400.0),
        share=rng.choice((0.15, 0.5, 1.0)),
        factor=rng.choice((0.3, 0.6, 2.0)) if kind == "limits" else rng.choice((3.0, 30.0)),
    )


def _refusing(rng: Random, replicas: int) -> list[Fault]:
    """One of several replicas that refuses everything to the end, in a fifth of the plans that have several."""
    if replicas == 1 or rng.random() >= 0.2:
        return []
    return [
        Fault(
            kind=rng.choice(FOR_GOOD),
            lane="base",
            replica=rng.randrange(replicas),
            start=rng.choice((0.0, rng.expovariate(1 / 12))),
            seconds=inf,
        )
    ]


def _interruption(rng: Random) -> Interruption:
    return Interruption(
        kind="cancel" if rng.random() < 0.25 else "kill", after=rng.expovariate(1 / 8), rest=rng.expovariate(1 / 5)
    )


def _guest(rng: Random) -> Guest:
    lane: LaneName = rng.choice(("base", "optimizer"))
    numbers = tuple(rng.randrange(8) for _ in range(rng.choice((1, 1, 2, 6))))
    caps: dict[str, Any] = {}
    if rng.random() < 0.7:
        most = {"calls": rng.randint(1, 6), "tokens": rng.randint(400, 3_000), "dollars": rng.uniform(0.000_1, 0.002)}
        caps = {name: most[name] for name in rng.sample(sorted(most), rng.randint(1, 2))}
    if rng.random() < 0.02:  # dear, and so small in what it may spend
        numbers, caps = tuple(range(LONG_BATCH)), {"calls": rng.randint(0, 10)}
    return Guest(
        lane=lane,
        numbers=numbers,
        priority=rng.choice((URGENT, (), (10**9,))),
        after=rng.choice((0.0, rng.expovariate(1 / 4), rng.expovariate(1 / 20))),
        leaves=rng.expovariate(1 / 3) if rng.random() < 0.5 else None,
        again=rng.random() < 0.8,
        caps=caps,
    )


def _concurrencies(config: RunConfig) -> list[tuple[str, object]]:
    assert config.optimizer is not None
    return [("base", config.base.concurrency), ("optimizer", config.optimizer.concurrency)]


def _of(concurrency: object) -> str:
    return "auto concurrency" if concurrency == "auto" else "fixed concurrency"


def _told(config: RunConfig, lane: str) -> bool:
    table = config.base if lane == "base" else config.optimizer
    return table is not None and bool(table.requests_per_minute or table.tokens_per_minute)
