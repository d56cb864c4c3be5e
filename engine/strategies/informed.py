"""metaspo's own strategy: the optimizer model is told what the errors are, how many, and what must stay right.

As MetaSPO's it has failures analysed and then the prompt rewritten. Failures alone show errors in one direction and no
counts, which invites a push to the other label. So this one adds, for every task: its score and right of how many,
expected against read answers with counts and how many of the same are right, how many answers could not be read, what
graders say, right answers that must stay so, how an answer is read and where it is cut, what was tried before and what
came of it. A prompt that quotes an example, is a refusal, an unfilled template, fenced, or too long is refused, which
is said when it is asked again.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from random import Random
from typing import Literal, TypeVar

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from metaspo.backends import Message
from metaspo.engine.strategies.base import (
    CandidateContext,
    InnerContext,
    Level,
    Malformed,
    OuterContext,
    TaskView,
    Tried,
    form_is_missing,
    require_failures,
)
from metaspo.engine.strategies.faults import WORDS, fault_in
from metaspo.engine.strategies.meta_prompts import join_blocks, read_prompt, read_tag
from metaspo.engine.strategies.texts import Changed, Texts, check_changed
from metaspo.engine.tasks import Failure
from metaspo.engine.tasks.base import Example

TRIED = 5  # prompts of earlier rounds that are shown
COUNTED = 8  # kinds of errors that are counted for each task
KINDS = ("sentence", "steps", "role")  # of prompts that are asked for, in turn

C = TypeVar("C", Failure, Example)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Informed:
    """What both levels share.

    Attributes:
        words: how many a prompt may have.
        right: right answers of each task that are shown.
        scope: "global" for a system prompt that names no subject, "domain" for one whose tasks are of one domain.
        texts: what the optimizer model is told in place of metaspo's own texts; in a config the name of a TOML file.
    """

    words: int = Field(default=WORDS, ge=10)
    right: int = Field(default=2, ge=0)
    scope: Literal["global", "domain"] = "global"
    texts: Changed = Field(default_factory=dict)

    @field_validator("texts")
    @classmethod
    def _of_informed(cls, value: Changed) -> Changed:
        return check_changed("informed", value)

    @property
    def name(self) -> str:
        """What a config calls it."""
        return "informed"

    @property
    def calls_optimizer(self) -> int:
        """An analysis and a rewriting."""
        return 2

    async def _propose(self, context: CandidateContext, tasks: Sequence[TaskView], level: Level) -> str:
        require_failures(tasks)
        texts = Texts("informed", self.texts)
        shown = {task.name: stratified(task.failures, context.show, context.rng) for task in tasks}
        kept = {task.name: _still_right(task, self.right, context.rng) for task in tasks}
        parent = context.system_prompt if level == "system" else tasks[0].user_prompt
        tried = [_tried(texts, level, each, context.system_prompt) for each in _others(context, tasks, level, parent)]
        slots = {
            "model": context.model,
            "max_tokens": str(context.max_tokens),
            "level": level,
            "prompts": texts.text(level, "prompts", {"system_prompt": context.system_prompt}),
            "facts": join_blocks([_facts(texts, task, level, _reading(texts, task, tasks, level)) for task in tasks]),
            "wrong": _by_task(texts, level, shown, _wrong),
            "kept": _by_task(texts, level, kept, _right),
            "tried": texts.text(level, "tried", {"tried": join_blocks(tried)}) if tried else "",
            "words": str(self.words),
            "kind": texts.text("kinds", KINDS[(len(context.tried) + context.candidate - 1) % len(KINDS)], {}),
        }
        read_findings = _telling(texts, level, lambda said: read_tag(said, "findings"))
        findings = await context.ask("analyze", _messages(texts, level, "analyze", slots), read_findings)
        rules = texts.text("rules", "user", {}) if level == "user" else self._system_rules(texts, tasks)
        rewrite = _messages(texts, level, "generate", {**slots, "findings": findings, "rules": rules})
        examples = [train_example for task in tasks for train_example in task.train]
        beside = [context.system_prompt, *(task.user_prompt for task in tasks)]
        read = _telling(texts, level, self._reader(context, level, examples, parent, beside))
        return await context.ask("generate", rewrite, read)

    def _system_rules(self, texts: Texts, tasks: Sequence[TaskView]) -> str:
        form = texts.text("rules", "say_form" if form_is_missing(tasks) else "set_no_form", {})
        return "\n".join(filter(None, (form, texts.text("rules", self.scope, {}))))

    def _reader(
        self, context: CandidateContext, level: Level, examples: Sequence[Example], parent: str, beside: Sequence[str]
    ) -> Callable[[str], str]:
        def read(answer: str) -> str:
            prompt = read_prompt(answer, tag="new_prompt", level=level)
            if fault := fault_in(prompt, words=self.words, examples=examples, parent=parent, beside=beside):
                raise Malformed(fault)
            return context.usable(prompt)

        return read


class InformedInner(_Informed):
    """User prompts by informed analysis of one task."""

    def describe(self) -> str:
        """One line for the report."""
        return "task by task, the optimizer model is told its errors with counts, and what must stay right (informed)"

    async def propose(self, context: InnerContext, /) -> str:
        """Analyse, then rewrite. Raises `NoProposal` when there are no failures."""
        return await self._propose(context, [context.task], "user")


class InformedOuter(_Informed):
    """System prompts by informed analysis of all tasks."""

    def describe(self) -> str:
        """One line for the report."""
        return "the optimizer model is told all tasks' errors with counts, and what must stay right (informed)"

    async def propose(self, context: OuterContext, /) -> str:
        """Analyse, then rewrite. Raises `NoProposal` when no task has failures."""
        return await self._propose(context, context.tasks, "system")


def stratified(failures: Sequence[Failure], size: int, rng: Random) -> list[Failure]:
    """Failures of every kind (what was expected, what was read) in turn, each kind's drawn at random."""
    kinds: dict[tuple[str, str | None], list[Failure]] = {}
    for failure in rng.sample(failures, len(failures)):
        kinds.setdefault(_kind(failure), []).append(failure)
    shown: list[Failure] = []
    while len(shown) < min(size, len(failures)):
        shown += [kind.pop() for kind in kinds.values() if kind][: size - len(shown)]
    return shown


def _telling(texts: Texts, level: Level, read: Callable[[str], str]) -> Callable[[str], str]:
    """The same reader, with what was wrong to be said when the optimizer model is asked again."""

    def telling(answer: str) -> str:
        try:
            return read(answer)
        except Malformed as fault:
            told = texts.text(level, "again", {"fault": str(fault)})
            raise type(fault)(str(fault), again=told) from fault  # what is unfit stays so: it is counted apart

    return telling


def _others(context: CandidateContext, tasks: Sequence[TaskView], level: Level, parent: str) -> list[Tried]:
    """The last prompts that were tried, each once, without the present one."""
    beaten = tasks[0].beaten if level == "user" else ()
    by_prompt = {tried.prompt: tried for tried in (*beaten, *context.tried) if tried.prompt != parent}
    return [*by_prompt.values()][-TRIED:]


def _tried(texts: Texts, level: Level, tried: Tried, present: str) -> str:
    """A prompt that was tried, and what came of it; under another system prompt than the present one it is said so."""
    scores = {
        "kept": tried.score,
        "gate": tried.gate,
        "beaten": tried.beaten,
        "at_most": tried.at_most,
        "unshared": tried.unshared,
    }
    outcomes = [(name, f"{score:.0%}") for name, score in scores.items() if score is not None]
    name, score = next(iter(outcomes), ("not_kept", ""))
    parent = "" if tried.parent is None else f"{tried.parent:.0%}"
    outcome = texts.text("outcomes", name, {"score": score, "parent": parent})
    if tried.unread:
        outcome += texts.text("outcomes", "unread", {"count": str(tried.unread), "all": str(tried.answers)})
    if tried.system and tried.system != present:
        outcome += f" {texts.text('outcomes', 'older', {})}"
    return texts.text(level, "attempt", {"outcome": outcome, "prompt": tried.prompt})


def _reading(texts: Texts, task: TaskView, tasks: Sequence[TaskView], level: Level) -> str:
    """What in an answer counts; of tasks that are read alike it is told with the first one."""
    first = next(each for each in tasks if each.reading == task.reading)
    alike = task.reading and first.name != task.name
    return texts.text(level, "read_alike", {"name": first.name}) if alike else task.reading


def _facts(texts: Texts, task: TaskView, level: Level, reading: str) -> str:
    wrong, whole = len(task.failures), len(task.train)
    malformed = sum(failure.prediction is None for failure in task.failures)
    slots = {
        "name": task.name,
        "score": f"{task.score:.0%}",
        "right": str(whole - wrong),
        "all": str(whole),
        "metric": task.metric,
        "answer_rule": task.answer_rule,
        "reading": reading,
        "errors": _errors(texts, task, level),
        "malformed": texts.text(level, "malformed", {"count": str(malformed), "all": str(whole)}),
        "user_prompt": task.user_prompt,
    }
    return texts.text(level, "task", slots)


def _errors(texts: Texts, task: TaskView, level: Level) -> str:
    """The most frequent errors, by right answer and what was read; of a task without right answers how many."""
    if task.failures and not any(example.expected for example in task.train):
        return texts.text(level, "judged", {"count": str(len(task.failures)), "all": str(len(task.train))})
    kinds = Counter(map(_kind, task.failures))
    labels = Counter(answer for example in task.train for answer in set(example.answers))
    counts = []
    for (right, read), count in kinds.most_common(COUNTED):
        slots = {"right": right, "read": _read_as(texts, read, level), "count": str(count), "all": str(labels[right])}
        counts.append(texts.text(level, "worth_less" if read == right else "error", slots))
    counts += _right_too(texts, task, level, named={label for kind in kinds for label in kind if label}, labels=labels)
    return texts.text(level, "errors", {"counts": "\n".join(counts)}) if counts else texts.text(level, "no_errors", {})


def _right_too(texts: Texts, task: TaskView, level: Level, *, named: Set[str], labels: Mapping[str, int]) -> list[str]:
    """Of the answers that errors name, how many are right: what a push away from them would cost."""
    right = Counter(answer for example in _right_examples(task) for answer in set(example.answers) & named)
    return [
        texts.text(level, "right_too", {"right": answer, "count": str(count), "all": str(labels[answer])})
        for answer, count in sorted(right.most_common(COUNTED), key=lambda pair: (-pair[1], pair[0]))
    ]


def _kind(failure: Failure) -> tuple[str, str | None]:
    """The right answer, the one that was given if it is one of several, and what was read."""
    answers, read = failure.example.answers, failure.prediction
    return (read if read is not None and read in answers else answers[0]), read


def _read_as(texts: Texts, read: str | None, level: Level) -> str:
    return texts.text(level, "unreadable", {}) if read is None else read


def _by_task(
    texts: Texts, level: Level, cases: Mapping[str, Sequence[C]], told: Callable[[Texts, C, Level], str]
) -> str:
    """The cases of every task, below its name where there are several."""
    blocks = []
    for name, of_task in cases.items():
        if of_task and len(cases) > 1:
            blocks.append(texts.text(level, "of_task", {"name": name}))
        blocks += [told(texts, case, level) for case in of_task]
    return join_blocks(blocks)


def _wrong(texts: Texts, failure: Failure, level: Level) -> str:
    slots = {
        "question": failure.example.asked,
        "response": failure.response.strip(),
        "prediction": _read_as(texts, failure.prediction, level),
        "answers": _answers_told(texts, failure.example, level),
        "feedback": f"{texts.text(level, 'feedback', {'feedback': failure.feedback})}\n" if failure.feedback else "",
    }
    return texts.text(level, "wrong", slots)


def _right(texts: Texts, example: Example, level: Level) -> str:
    slots = {"question": example.asked, "answers": _answers_told(texts, example, level)}
    return texts.text(level, "right", slots)


def _answers_told(texts: Texts, example: Example, level: Level) -> str:
    return example.expected or texts.text(level, "none_given", {})


def _still_right(task: TaskView, size: int, rng: Random) -> list[Example]:
    right = _right_examples(task)
    return rng.sample(right, min(size, len(right)))


def _right_examples(task: TaskView) -> list[Example]:
    wrong = {failure.example for failure in task.failures}
    return [example for example in task.train if example not in wrong]


def _messages(texts: Texts, level: Level, step: str, slots: dict[str, str]) -> tuple[Message, ...]:
    return (Message("system", texts.text(level, "role", {})), Message("user", texts.text(level, step, slots)))
