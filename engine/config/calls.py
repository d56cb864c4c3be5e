"""How many calls a run makes at most: every candidate proposed and scored in full, nothing in the cache, no answer
malformed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from metaspo.engine.config.schema import InnerTable, OuterTable, RunConfig
from metaspo.engine.strategies import CallBound, Proposer, RoundSize, inner_strategy, of_form, outer_strategy
from metaspo.engine.tasks import Accuracy, Task
from metaspo.engine.tasks.named_prompts import PromptForm
from metaspo.engine.tasks.programs import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How many calls each stage makes at most.

    Attributes:
        initial, inner, outer: of the base model on train splits.
        test: of the base model on test splits.
        optimizer: of the optimizer model, redraws of malformed answers not counted.
        judge: of what grades answers; of the base model where there is no `[judge]`.
    """

    initial: int
    inner: int
    outer: int
    test: int
    optimizer: int
    judge: int = 0

    @property
    def base(self) -> int:
        """All calls of the base model that bring answers."""
        return self.initial + self.inner + self.outer + self.test

    def __add__(self, other: "Calls") -> "Calls":
        """Both together, stage by stage."""
        return Calls(**{stage: calls + getattr(other, stage) for stage, calls in asdict(self).items()})


def count_calls(config: RunConfig, tasks: Sequence[Task]) -> Calls:
    """Upper bounds of all calls of a run; with `train_calls` those of the optimizer model are an estimate.

    For that every round is taken to need what it needs at most: where a search needs less, more rounds follow. In
    rounds every answer is taken for as many calls as the most that a program or grader of theirs may make.
    """
    return with_grades(lambda answered: _count(config, answered), tasks)


def with_grades(count: Callable[[Sequence[Task]], Calls], tasks: Sequence[Task]) -> Calls:
    """What is counted of tasks' answers, and for their grades."""
    calls = count(tasks)
    if not any(task.grade_calls for task in tasks):
        return calls
    grading = [
        replace(task, program=Program(name="", function=len, max_calls=task.grade_calls), metric=Accuracy())
        for task in tasks
    ]
    return replace(calls, judge=count(grading).base)


def _count(config: RunConfig, tasks: Sequence[Task]) -> Calls:
    trains, sources = train_sizes(config, tasks), [task for task in tasks if task.role == "source"]
    forms = [task.form for task in sources]
    guards, induced = guards_of(config, tasks), induced_prompts(config)
    each = max((task.max_calls for task in (*sources, *guards)), default=1)
    initial = first_calls(config, tasks)
    guarded = sum(len(task.train) for task in guards)
    seen = prompts_seen(config, sources, iteration=0)
    left = None if config.train_calls is None else config.train_calls - initial
    inner, outer, optimizer = 0, 0, induced * sum(task.user_texts for task in sources)
    rounds: dict[tuple[int, ...], tuple[CallBound, CallBound]] = {}
    number = 1
    while left is not None or number <= config.iterations:
        seen = prompts_seen(config, sources, iteration=number)
        if seen not in rounds:  # which a search may take long to work out
            rounds[seen] = _rounds(config, trains, seen=seen, guarded=guarded, forms=forms)
        most = rounds[seen]
        spare = reserved(config, tasks, iteration=number)
        first = _part_of(most[0], left if left is None or spare > left else left - spare)
        second = _part_of(most[1], None if left is None else left - first.base)
        calls, alike = first.base + second.base, 1
        if seen == prompts_seen(config, sources, iteration=number + 1):  # so are all that follow
            alike = config.iterations - number + 1 if left is None else max(1, left // max(1, calls))
        inner, outer = inner + alike * first.base, outer + alike * second.base
        optimizer += alike * (first.optimizer + second.optimizer)
        number += alike
        if left is not None:
            left -= alike * calls
            if left <= 0 or not calls:
                break
    test = _tested(config, tasks, seen=seen)
    return Calls(initial=initial, inner=inner * each, outer=outer * each, test=test, optimizer=optimizer)


def count_answers(config: RunConfig, tasks: Sequence[Task]) -> Calls:
    """The same in answers of the base model: a program's answer counts once, however many calls it takes."""
    return _count(config, [replace(task, program=None) for task in tasks])


def train_sizes(config: RunConfig, tasks: Sequence[Task]) -> list[int]:
    """How many train examples of each source task the loops look at."""
    return [len(task.with_train(config.rows).train) for task in tasks if task.role == "source"]


def guards_of(config: RunConfig, tasks: Sequence[Task]) -> list[Task]:
    """The guards that system prompts are held against: none in a run that looks for no system prompts."""
    return [task for task in tasks if task.role == "guard" and config.searches_systems]


def induced_prompts(config: RunConfig) -> int:
    """How many user prompts are induced for each source task and scored before the first iteration."""
    return config.outer.induced if config.outer.under == "induced" else 0


def prompts_seen(config: RunConfig, sources: Sequence[Task], *, iteration: int) -> tuple[int, ...]:
    """Of each source task how many user prompts there have been at most when the outer loop of an iteration starts, as
    far as more than are kept make a difference; iteration 0 is the choice among first prompts."""
    most = max(config.inner.keep, 2)
    return tuple(min(most, 1 + len(task.user_prompts) + iteration * config.inner.candidates) for task in sources)


def first_calls(config: RunConfig, tasks: Sequence[Task]) -> int:
    """Calls before the first iteration: first prompts, induced ones, and further first ones to choose among."""
    sources = [task.with_train(config.rows) for task in tasks if task.role == "source"]
    seen = prompts_seen(config, sources, iteration=0)
    calls = [task.calls(task.train) for task in sources]
    users = sum(
        count * (1 + induced_prompts(config) + len(task.user_prompts))
        for task, count in zip(sources, calls, strict=True)
    )
    guarded = sum(task.calls(task.train) for task in guards_of(config, tasks))
    systems = sum(
        count * (len(config.system_prompts) * _nodes(config, prompts) + _beside(config, prompts))
        for prompts, count in zip(seen, calls, strict=True)
    )
    return users + guarded + (systems + len(config.system_prompts) * guarded if config.system_prompts else 0)


def _nodes(config: RunConfig, seen: int) -> int:
    """Under how many user prompts of a task a system prompt is scored at most, if there have been so many."""
    table, kept = config.outer, min(config.inner.keep, seen)
    return {"kept": kept, "first": 1, "induced": table.induced, "mixed": 2 if seen > 1 else 1}[table.under]


def _beside(config: RunConfig, seen: int) -> int:
    """How many kept user prompts of a task have to be scored for themselves when a system prompt is adopted."""
    kept = min(config.inner.keep, seen)
    return {"kept": 0, "first": kept, "induced": kept, "mixed": kept - 1}[config.outer.under]


def _rounds(
    config: RunConfig,
    trains: Sequence[int],
    *,
    seen: Sequence[int],
    guarded: int,
    forms: Sequence[PromptForm | None],
) -> tuple[CallBound, CallBound]:
    """What both loops of one iteration take at most, scoring what is proposed included; arguments as `proposing`.

    Args:
        guarded: train examples of all guards.
    """
    work, candidates = proposing(config, trains, seen=seen, forms=forms), config.outer.candidates
    scoring = sum(
        rows * (candidates * _nodes(config, prompts) + _beside(config, prompts))
        for rows, prompts in zip(trains, seen, strict=True)
    )
    return (
        CallBound(config.inner.candidates * sum(trains) + work["inner"].base, work["inner"].optimizer),
        CallBound(
            (scoring + candidates * guarded if candidates else 0) + work["outer"].base,
            work["outer"].optimizer,
        ),
    )


def _part_of(whole: CallBound, left: int | None) -> CallBound:
    """As much of it as so many base calls allow, optimizer calls in proportion."""
    if left is None or whole.base <= left:
        return whole
    return CallBound(base=max(0, left), optimizer=-(-whole.optimizer * max(0, left) // whole.base))


def _tested(config: RunConfig, tasks: Sequence[Task], *, seen: Sequence[int]) -> int:
    """Calls on test splits, with so many user prompts seen of each source task."""
    sources = [task.calls(task.test) for task in tasks if task.role == "source"]
    others = sum(task.calls(task.test) for task in tasks if task.role != "source")
    final = {"kept": config.inner.keep, "best": 1, "none": 0}[config.test.source]
    after = sum(min(final, prompts) * calls for prompts, calls in zip(seen, sources, strict=True))
    tested = [task for task in tasks if task.role != "source" or config.test.source != "none"]
    before = sum(task.calls(task.test) for task in tested if config.test.baseline or task.against_first)
    return after + others + before


def inner_proposer(table: InnerTable) -> Proposer:
    """Who proposes a run's user prompts. Raises `UnknownStrategy`."""
    return inner_strategy(table.strategy, table.options, demonstrations=table.demonstrations)


def outer_proposer(table: OuterTable) -> Proposer:
    """Who proposes a run's system prompts. Raises `UnknownStrategy`."""
    return outer_strategy(table.strategy, table.options, first_passes=table.first_passes)


def inner_calls(config: RunConfig, rows: int) -> int:
    """Base calls of one inner round on so many train rows at most; of a task that is answered by no program."""
    strategy, count = inner_proposer(config.inner), config.inner.candidates
    return count * rows + strategy.work(RoundSize(level="user", candidates=count, tasks=1, nodes=1, rows=rows)).base


def reserved(config: RunConfig, tasks: Sequence[Task], *, iteration: int) -> int:
    """Answers that one system prompt takes which is adopted, where inner loops are to leave them.

    None at iteration 0, the choice among first prompts.
    """
    if not (config.outer.reserve and config.outer.candidates and iteration):
        return 0
    sources = [task for task in tasks if task.role == "source"]
    seen = prompts_seen(config, sources, iteration=iteration)
    nodes = [_nodes(config, prompts) + _beside(config, prompts) for prompts in seen]
    guarded = sum(len(task.train) for task in guards_of(config, tasks))
    return guarded + sum(rows * count for rows, count in zip(train_sizes(config, tasks), nodes, strict=True))


def proposing(
    config: RunConfig, trains: Sequence[int], *, seen: Sequence[int], forms: Sequence[PromptForm | None]
) -> dict[Literal["inner", "outer"], CallBound]:
    """What proposing takes in one iteration at most, scoring of what is proposed not counted.

    Args:
        trains: sizes of the source tasks' train splits.
        seen: how many user prompts of each there have been when the outer loop starts.
        forms: what user prompts of each are made of, where a program names several.
    """
    inner = inner_proposer(config.inner)
    outer = outer_proposer(config.outer)
    rounds = [
        of_form(inner, form).work(
            RoundSize(level="user", candidates=config.inner.candidates, tasks=1, nodes=1, rows=rows)
        )
        for rows, form in zip(trains, forms, strict=True)
    ]
    nodes = [_nodes(config, prompts) for prompts in seen]
    whole = RoundSize(
        level="system",
        candidates=config.outer.candidates,
        tasks=len(trains),
        nodes=sum(nodes),
        rows=sum(count * rows for count, rows in zip(nodes, trains, strict=True)),
    )
    return {
        "inner": CallBound(base=sum(work.base for work in rounds), optimizer=sum(work.optimizer for work in rounds)),
        "outer": outer.work(whole),
    }
