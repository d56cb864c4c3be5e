"""Any strategy at work on a user prompt of several named prompts and numbers: on one in turn, or on all at once.

To a strategy a named prompt is a user prompt like any other, and its scores are those that it has with the others as
they are; what holds no {question} is shown with one below it. Numbers are chosen by a surrogate, which is told of every
user prompt that was tried before.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Final, TypeVar

from metaspo.backends import Message
from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.addresses import join
from metaspo.engine.gather import gather
from metaspo.engine.strategies.base import Ask, Level, NoProposal, TaskView, Tried
from metaspo.engine.strategies.meta_prompts import ending_with
from metaspo.engine.strategies.proposers import Proposal, ProposalContext, Proposer, given
from metaspo.engine.strategies.search import CallBound, RoundSize, Rows, Trial
from metaspo.engine.strategies.surrogate import Surrogate
from metaspo.engine.strategies.texts import META, text
from metaspo.engine.tasks.base import PLACEHOLDER
from metaspo.engine.tasks.named_prompts import NUMBERS, NamedPrompts, NumberRange, PromptForm

STARTUP: Final = 4  # user prompts that the surrogate wants to know of before it is more than a draw
ASKED: Final = 50  # times, for numbers that were not tried yet
# The place of a question that is no part of a prompt, on a line of its own, perhaps with a label before it.
_ADDED: Final = late_pattern(r"\n*^[^\w\n]*(?:\w+[^\w\n]+){0,2}\{question\}[^\w\n]*$", re.MULTILINE)

T = TypeVar("T")
P = TypeVar("P", Tried, Trial)


@dataclass(frozen=True, slots=True)
class OfForm:
    """Proposes user prompts of a form, by a proposer that knows of one text alone."""

    proposer: Proposer
    form: PromptForm

    def describe(self) -> str:
        """As the proposer says."""
        return self.proposer.describe()

    def work(self, size: RoundSize, /) -> CallBound:
        """What it takes for each prompt, with as many candidates as may fall to it."""
        share = size.candidates if self.form.together else -(-size.candidates // len(self._turns))
        each = self.proposer.work(replace(size, candidates=share))
        return CallBound(base=each.base * len(self.form.slots), optimizer=each.optimizer * len(self.form.slots))

    @property
    def _turns(self) -> tuple[str, ...]:
        return (*self.form.slots, *([NUMBERS] if self.form.numbers else []))

    async def proposals(self, context: ProposalContext, /) -> Sequence[Proposal]:
        """See `Proposer`. Raises `NoProposal` where nothing can be changed."""
        parent = self.form.read(context.tasks[0].user_prompt)
        if self.form.together:
            return await self._of_all(context, parent)
        turns = [
            self._turns[number % len(self._turns)]
            for first in [(context.iteration - 1) * context.candidates]
            for number in range(first, first + context.candidates)
        ]
        names = list(dict.fromkeys(turns))
        begun = await gather(self._of_one(context, parent, name, turns.count(name)) for name in names)
        queues = dict(zip(names, begun, strict=True))
        if not any(queues.values()):
            raise NoProposal(f"nothing to change in {', '.join(names)}")
        return [queues[name].pop(0) for name in turns if queues[name]]

    async def _of_one(
        self, context: ProposalContext, parent: NamedPrompts, name: str, candidates: int
    ) -> list[Proposal]:
        if name == NUMBERS:
            chosen = self._numbers(context, parent, candidates, fresh=True)
            return [partial(given, str(replace(parent, numbers=numbers))) for numbers in chosen]
        single = OneOf(context, self.form, parent, name, candidates)
        return [partial(self._changed, parent, [(single, proposal)]) for proposal in await self._begun(single)]

    async def _of_all(self, context: ProposalContext, parent: NamedPrompts) -> list[Proposal]:
        singles = [OneOf(context, self.form, parent, name, context.candidates) for name in self.form.slots]
        begun = await gather(map(self._begun, singles))
        chosen = self._numbers(context, parent, context.candidates, fresh=False) if self.form.numbers else []
        count = max(map(len, [*begun, chosen]))
        return [
            partial(
                self._changed,
                replace(parent, numbers=chosen[number]) if number < len(chosen) else parent,
                [
                    (single, proposals[number])
                    for single, proposals in zip(singles, begun, strict=True)
                    if number < len(proposals)
                ],
            )
            for number in range(count)
        ]

    async def _begun(self, single: "OneOf") -> Sequence[Proposal]:
        try:
            return await self.proposer.proposals(single)
        except NoProposal:
            return []

    async def _changed(self, parent: NamedPrompts, proposals: Sequence[tuple["OneOf", Proposal]], ask: Ask) -> str:
        """The parent with what is proposed for some of its prompts. Raises `NoProposal` where none is brought."""
        changes = await gather(_proposed(single, proposal, ask) for single, proposal in proposals)
        texts = {name: text for name, text in changes if isinstance(text, str)}
        if not texts and changes:
            raise next(reason for _, reason in changes if isinstance(reason, NoProposal))
        return str(replace(parent, texts={**parent.texts, **texts}))

    def _numbers(
        self, context: ProposalContext, parent: NamedPrompts, count: int, *, fresh: bool
    ) -> list[Mapping[str, int | float]]:
        """So many choices of numbers; with `fresh` only those that the parent was not tried with, as far as there are
        any."""
        values: dict[str, float | None] = {}
        for tried in context.tried:
            values[tried.prompt] = tried.at_most if tried.score is None else tried.score
        values |= {trial.prompt: trial.score for trial in context.first}
        history = [(self.form.read(prompt), value) for prompt, value in values.items()]
        there = [named.numbers for named, _ in history if named.texts == parent.texts]
        return choose_numbers(
            self.form,
            [(named.numbers, value) for named, value in history if value is not None],
            count=count,
            seed=context.rng(NUMBERS).getrandbits(32),
            without=there if fresh else None,
        )


def choose_numbers(
    form: PromptForm,
    history: Sequence[tuple[Mapping[str, int | float], float]],
    *,
    count: int,
    seed: int,
    without: Sequence[Mapping[str, int | float]] | None = None,
) -> list[Mapping[str, int | float]]:
    """The next numbers to try, at most `count`, by what came of others.

    Args:
        without: numbers that are not to be tried, nor any twice; None where each may be.
    """
    surrogate = Surrogate(form.numbers, seed=seed, startup=STARTUP, apart=True)
    for numbers, value in history:
        surrogate.add(numbers, value)
    chosen: list[Mapping[str, int | float]] = []
    for _ in range(count if without is None else count * ASKED):
        asked = surrogate.ask()
        numbers = {name: _rounded(form, name, value) for name, value in asked.items()}
        if without is None or numbers not in [*without, *chosen]:
            chosen.append(numbers)
        if len(chosen) == count:
            break
    return chosen


def _rounded(form: PromptForm, name: str, value: int | float) -> int | float:
    space = form.numbers[name]
    return space.nearest(value) if isinstance(space, NumberRange) else value


class OneOf:
    """A round as a proposer sees it that is to change one of several named prompts."""

    def __init__(
        self, context: ProposalContext, form: PromptForm, parent: NamedPrompts, name: str, candidates: int
    ) -> None:
        self._context, self._form, self._parent = context, form, parent
        self.name, self.candidates = name, candidates
        self.level: Level = context.level
        self.address = join(context.address, f"prompt={name}")
        self.iteration, self.nodes, self.show = context.iteration, context.nodes, context.show
        self.system_prompt, self.model, self.max_tokens = context.system_prompt, context.model, context.max_tokens
        self.tasks = tuple(map(self._view, context.tasks))
        self.parents = tuple((system, tuple(map(self._view, tasks))) for system, tasks in context.parents)
        self.first_systems = context.first_systems
        self.tried = tuple(replace(tried, prompt=self._shown(tried.prompt)) for tried in self._alike(context.tried))
        self.past = tuple(tried.prompt for tried in self.tried)
        self.first = tuple(map(self._trial, self._alike(context.first)))
        self._request = about(form, parent, name)

    @property
    def room(self) -> int | None:
        """As of the whole round."""
        return self._context.room

    def rng(self, step: str) -> Random:
        """See `SearchContext`."""
        return self._context.rng(self._step(step))

    def sample(self, step: str, *, per_task: int) -> Rows:
        """See `SearchContext`."""
        return self._context.sample(self._step(step), per_task=per_task)

    def usable(self, prompt: str) -> str:
        """The named prompt as it is shown. Raises `Malformed`."""
        return self._shown(self._context.usable(self.whole(prompt)))

    async def ask(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        """See `SearchContext`."""
        return await self._context.ask(self._step(step), ending_with(self._request, messages), parse)

    def asking(self, ask: Ask) -> Ask:
        """A candidate's own calls, with what is to be known of the others."""

        async def asked(step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
            return await ask(self._step(step), ending_with(self._request, messages), parse)

        return asked

    async def score(self, step: str, prompts: Sequence[str], *, rows: Rows | None = None) -> list[Trial]:
        """See `SearchContext`."""
        given = {self.whole(prompt): prompt for prompt in reversed(prompts)}
        wholes = [self.whole(prompt) for prompt in prompts]
        trials = await self._context.score(self._step(step), wholes, rows=rows)
        return [replace(self._trial(trial), prompt=given[trial.prompt]) for trial in trials]

    def whole(self, shown: str) -> str:
        """The user prompt with this one as its named prompt."""
        return str(replace(self._parent, texts={**self._parent.texts, self.name: self.text(shown)}))

    def text(self, shown: str) -> str:
        """The named prompt that is shown so."""
        if "question" in self._form.slots[self.name]:
            return shown.strip()
        return bare(shown)

    def _shown(self, whole: str) -> str:
        text = self._form.read(whole).texts[self.name]
        return text if PLACEHOLDER in text else f"{text}\n\n{PLACEHOLDER}"

    def _view(self, task: TaskView) -> TaskView:
        states_rule = task.answer_rule in self._parent.texts[self.name]
        return replace(task, user_prompt=self._shown(task.user_prompt), states_rule=states_rule)

    def _trial(self, trial: Trial) -> Trial:
        wrong = (replace(answer, user_prompt=self._shown(answer.user_prompt)) for answer in trial.wrong)
        return replace(trial, prompt=self._shown(trial.prompt), wrong=tuple(wrong))

    def _alike(self, prompts: Sequence[P]) -> list[P]:
        """Those that differ from the parent in nothing else."""
        return [each for each in prompts if self.whole(self._shown(each.prompt)) == each.prompt]

    def _step(self, step: str) -> str:
        return f"prompt={self.name}/{step}"


def bare(shown: str) -> str:
    """A prompt without the place of a question that is no part of it."""
    return _ADDED.sub("", shown).replace(PLACEHOLDER, "").strip()


def about(form: PromptForm, parent: NamedPrompts, name: str) -> str:
    """What the optimizer model is told besides, of a prompt that is one of several."""
    others = str(NamedPrompts({other: told for other, told in parent.texts.items() if other != name}))
    slots = [f"{{{slot}}}" for slot in form.slots[name] if slot != "question"]
    rules = [text(META, "blocks", "places", {"places": ", ".join(slots)})] if slots else []
    rules += [] if "question" in form.slots[name] else [text(META, "blocks", "no_question", {})]
    return "\n\n".join([text(META, "blocks", "named", {"name": name, "others": others or "(none)"}), *rules])


async def _proposed(single: OneOf, proposal: Proposal, ask: Ask) -> tuple[str, str | NoProposal]:
    """The text of a named prompt, or why there is none."""
    try:
        return single.name, single.text(await proposal(single.asking(ask)))
    except NoProposal as reason:
        return single.name, reason
