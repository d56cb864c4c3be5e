"""The arena that a loop hands to a search: optimizer calls and scored prompts, at addresses below the round's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from metaspo.backends import Message
from metaspo.engine.addresses import candidate_address, join, rng_at
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.prompts import PromptError, PromptPair, check_system_prompt, check_user_prompt
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.runtime.optimizer import asker
from metaspo.engine.selection.objective import meta_score
from metaspo.engine.strategies import (
    Level,
    Malformed,
    NoProposal,
    RoundSize,
    Rows,
    Search,
    TaskView,
    Trial,
    WrongAnswer,
    round_work,
)
from metaspo.engine.tasks import Task
from metaspo.scheduling import Priority

T = TypeVar("T")
Cell = tuple[PromptPair, str, int]  # what an answer is to: a pair, and an example's task and row


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One node that prompts are scored on: a task, and the prompt that stays as it is.

    Attributes:
        task: the task's position in the arena.
        prompt: 0 for the task's best user prompt.
        other: the system prompt at level "user", the user prompt at level "system".
    """

    task: int
    prompt: int
    other: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSetup:
    """What a round is about; see `SearchContext` for the attributes that are not explained here.

    Attributes:
        priority: of the round's calls that come `number`-th.
        first: the cards of each prompt that is there, one card a place.
    """

    context: RunContext
    level: Level
    address: str
    candidates: int
    tasks: tuple[Task, ...]
    views: tuple[TaskView, ...]
    places: tuple[NodeSpec, ...]
    first: tuple[tuple[Scorecard, ...], ...]
    past: tuple[str, ...]
    priority: Callable[[int], Priority]

    @property
    def size(self) -> RoundSize:
        """How large the round is."""
        return RoundSize(
            level=self.level,
            candidates=self.candidates,
            tasks=len(self.tasks),
            nodes=len(self.places),
            rows=sum(len(self.tasks[place.task].train) for place in self.places),
        )


class RoundSearchContext:
    """An `SearchContext` on the engine: every call goes through the run's gateway, account and journal."""

    def __init__(self, setup: SearchSetup) -> None:
        self._setup = setup
        self._quiet = replace(setup.context, observer=Observer())  # an answer that is looked at again is no progress
        self._calls = 0
        self._seen = {
            (card.pair, card.task, row) for cards in setup.first for card in cards for row in range(len(card.outcomes))
        }
        self.evaluated = 0
        self.asked = 0
        self.first = tuple(self._trial(cards) for cards in setup.first)

    @property
    def level(self) -> Level:
        """Which prompt is looked for."""
        return self._setup.level

    @property
    def candidates(self) -> int:
        """How many prompts the loop will look at."""
        return self._setup.candidates

    @property
    def past(self) -> tuple[str, ...]:
        """What the search returned in earlier iterations."""
        return self._setup.past

    @property
    def tasks(self) -> tuple[TaskView, ...]:
        """The tasks under the best prompts there are."""
        return self._setup.views

    @property
    def nodes(self) -> int:
        """How many nodes a prompt is scored on."""
        return len(self._setup.places)

    def rng(self, step: str) -> Random:
        """The generator of a step."""
        return rng_at(self._setup.context.config.seed, join(self._setup.address, step))

    def sample(self, step: str, *, per_task: int) -> Rows:
        """Rows of each task, drawn without repeats."""
        rng = self.rng(step)
        sizes = [len(task.train) for task in self._setup.tasks]
        return tuple(tuple(sorted(rng.sample(range(size), min(per_task, size)))) for size in sizes)

    def usable(self, prompt: str) -> str:
        """The prompt, stripped. Raises `Malformed`."""
        prompt = prompt.strip()
        if fault := fault_of(prompt, level=self.level):
            raise Malformed(fault)
        return prompt

    async def ask(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        """Ask the optimizer at `step`, whose last part names the call. Raises `NoProposal`."""
        *above, call = step.split("/")
        setup = self._setup
        ask = asker(setup.context, join(setup.address, *above), priority=self._next())
        answer = await ask(call, messages, parse)
        self.asked += 1
        return answer

    async def score(self, step: str, prompts: Sequence[str], *, rows: Rows | None = None) -> list[Trial]:
        """Score prompts side by side; repeats, unusable prompts and refused ones are left out."""
        chosen = rows or tuple(tuple(range(len(task.train))) for task in self._setup.tasks)
        usable = [prompt for prompt in dict.fromkeys(prompts) if not fault_of(prompt, level=self.level)]
        scored = await gather(
            self._score(candidate_address(join(self._setup.address, step), number), prompt, chosen)
            for number, prompt in enumerate(usable, start=1)
        )
        return [trial for trial in scored if trial is not None]

    async def _score(self, address: str, prompt: str, rows: Rows) -> Trial | None:
        setup = self._setup
        priority = self._next()
        nodes, cells = [], set()
        for place in setup.places:
            task, pair = setup.tasks[place.task], self._pair(prompt, place)
            at = join(address, "score", f"task={task.name}", f"prompt={place.prompt}")
            examples = [task.train[row] for row in rows[place.task]]
            if examples:
                nodes.append(Evaluation(self._quiet, pair, task, examples=examples, address=at))
                cells |= {(pair, task.name, row) for row in rows[place.task]}
        await gather(node.ask([(priority, range(node.missing))]) for node in nodes)
        self._settle(cells - self._seen)
        cards = [node.card() for node in nodes]
        refusal = next((card.invalid for card in cards if card.invalid), "")
        worth = None if refusal else meta_score(cards)
        trial = events.Trial.of(prompt, level=setup.level, address=address)
        setup.context.journal.write(replace(trial, score=worth, invalid=refusal or None))
        return None if refusal else self._trial(cards)

    def _settle(self, cells: set[Cell]) -> None:
        """Count what was scored for the first time."""
        self._seen |= cells
        self.evaluated += len(cells)
        self._setup.context.observer.settled(base_calls=len(cells))

    def _trial(self, cards: Sequence[Scorecard]) -> Trial:
        best = {card.task: card for card in reversed(cards)}
        own = cards[0].pair
        return Trial(
            prompt=own.user if self.level == "user" else own.system,
            score=meta_score(cards),
            grades=tuple(outcome.grade for card in cards for outcome in card.outcomes if outcome.grade is not None),
            wrong=tuple(
                WrongAnswer(task=name, system_prompt=card.pair.system, user_prompt=card.pair.user, failure=failure)
                for name in dict.fromkeys(card.task for card in cards)
                for card in [best[name]]
                for failure in card.failures
            ),
        )

    def _pair(self, prompt: str, place: NodeSpec) -> PromptPair:
        return PromptPair(place.other, prompt) if self.level == "user" else PromptPair(prompt, place.other)

    def _next(self) -> Priority:
        self._calls += 1
        return self._setup.priority(self._calls)


async def run_search(search: Search, setup: SearchSetup) -> list[str]:
    """Let a search look for prompts; each usable one once, at most as many as the loop wants. Journals them."""
    run, context = setup.context, RoundSearchContext(setup)
    try:
        found: Sequence[str] = await search.search(context)
    except NoProposal as reason:
        run.journal.write(events.Proposal(address=setup.address, none=str(reason)))
        found = []
    bound = round_work(search, setup.size)
    run.observer.settled(
        base_calls=max(0, bound.base - context.evaluated), optimizer_calls=max(0, bound.optimizer - context.asked)
    )
    usable = [prompt for prompt in dict.fromkeys(found) if not fault_of(prompt, level=setup.level)]
    usable = usable[: setup.candidates]
    for number, prompt in enumerate(usable, start=1):
        address = candidate_address(setup.address, number)
        run.journal.write(events.Proposal.of(prompt, level=setup.level, address=address))
    return usable


def fault_of(prompt: str, *, level: Level) -> str:
    """Why a loop could not use the prompt; "" if it could."""
    try:
        (check_user_prompt if level == "user" else check_system_prompt)(prompt)
    except PromptError as error:
        return str(error)
    return ""
