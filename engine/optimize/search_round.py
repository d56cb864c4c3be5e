"""What a round hands to who proposes: optimizer calls and scored prompts, at addresses below the round's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from random import Random
from typing import TypeVar

from metaspo.backends import Message
from metaspo.engine.addresses import candidate_address, join, rng_at
from metaspo.engine.config.wording import drawn_again
from metaspo.engine.errors import PromptError, WordingError
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.optimize.round_setup import RoundSetup
from metaspo.engine.optimize.train_calls import TrainCells
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.runtime.optimizer import OptimizerCalls, Unanswered
from metaspo.engine.strategies import Ask, CallBound, Malformed, Rows, TaskView, Trial, Unfit, WrongAnswer, is_usable
from metaspo.engine.strategies.meta_prompts import ending_with
from metaspo.scheduling import Priority

T = TypeVar("T")
Evaluations = tuple[list[Evaluation], TrainCells]  # one prompt's, node by node, and what they ask


class RoundSearchContext:
    """A `ProposalContext` on the engine: every call goes through the run's gateway, account and journal."""

    def __init__(self, setup: RoundSetup) -> None:
        self._setup = setup
        self._nodes = setup.nodes
        self._objective = setup.objective
        self._unobserved = replace(setup.context, observer=Observer())  # an answer looked at again is no progress
        self._calls = self._evaluated = self._asked = 0
        self._lost: dict[str, Unanswered] = {}
        self.level = setup.level
        self.address = setup.address
        self.candidates = setup.candidates
        self._spare = setup.candidates * setup.rows + setup.after  # for what the loop scores in the end
        self.tried = setup.tried
        self.past = tuple(tried.prompt for tried in setup.tried)
        self.nodes = len(self._nodes)
        self.system_prompt = setup.system
        base, config = setup.context.base, setup.context.config
        self.first_systems = (config.system_prompt, *config.system_prompts)
        self.iteration = setup.iteration
        self.model, self.max_tokens = base.name, base.sampling.max_tokens or 0

    @cached_property
    def tasks(self) -> tuple[TaskView, ...]:
        """The tasks under the best prompts there are."""
        return self.parents[0][1]

    @cached_property
    def parents(self) -> tuple[tuple[str, tuple[TaskView, ...]], ...]:
        """What candidates start from, in turn."""
        return self._setup.parents

    @cached_property
    def first(self) -> tuple[Trial, ...]:
        """The prompts that are there, best first; of what they are held against in guards nothing is seen."""
        return tuple(self._trial(self._objective.counted(prompt.cards)) for prompt in self._setup.old)

    @property
    def room(self) -> int | None:
        """How many more prompts may be scored on every row; None where nothing caps that."""
        left = self._setup.calls.left
        return None if left is None else max(0, left - self._spare) // max(1, self._setup.size.rows)

    @property
    def show(self) -> int:
        """How many failures of a task to show."""
        config = self._setup.context.config
        return config.inner.failures if self.level == "user" else config.outer.failures

    def rng(self, step: str) -> Random:
        """The generator of a step."""
        return rng_at(self._setup.context.config.seed, join(self.address, step))

    def sample(self, step: str, *, per_task: int) -> Rows:
        """Rows of each task, drawn without repeats."""
        rng = self.rng(step)
        sizes = [len(task.train) for task in self.tasks]
        return tuple(tuple(sorted(rng.sample(range(size), min(per_task, size)))) for size in sizes)

    def usable(self, prompt: str) -> str:
        """The prompt, stripped. Raises `Malformed`."""
        try:
            return self._setup.usable(prompt.strip())
        except WordingError as error:
            raise Unfit(str(error), again=drawn_again(self.level, str(error))) from error
        except PromptError as error:
            raise Malformed(str(error)) from error

    async def ask(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        """Ask the optimizer at `step`, whose last part names the call. Raises `NoProposal`."""
        *above, call = step.split("/")
        return await self.asker(join(self.address, *above), priority=self._next())(call, messages, parse)

    def asker(self, address: str, *, priority: Priority, live: Callable[[], None] | None = None) -> Ask:
        """The optimizer at an address of the round; counts what it answers."""
        ask: Ask = OptimizerCalls(self._setup.context, address, priority=priority, live=live)
        request = self._setup.wording.request(self.level)

        async def counted(step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
            try:
                answer = await ask(step, ending_with(request, messages) if request else messages, parse)
            except Unanswered as lost:
                self._lost[join(address, step)] = lost
                raise
            self._asked += 1
            return answer

        return counted

    @property
    def lost(self) -> Unanswered | None:
        """Why an optimizer call, the first by its address, brought nothing, where none of the round did."""
        return self._lost[min(self._lost)] if self._lost and not self._asked else None

    def release(self, planned: CallBound) -> None:
        """The round is over: what was planned for proposing and not needed never will be."""
        base, optimizer = planned.base - self._evaluated, planned.optimizer - self._asked
        self._setup.spare(max(0, base), optimizer=max(0, optimizer))

    async def score(self, step: str, prompts: Sequence[str], *, rows: Rows | None = None) -> list[Trial]:
        """Score prompts side by side; repeats, unusable and refused ones and those beyond the cap are left out.

        Asked is with every fixed part; a trial has its prompt as the search gave it, which knows it by that.
        """
        chosen = rows or tuple(tuple(range(len(task.train))) for task in self.tasks)
        usable = [prompt for prompt in dict.fromkeys(prompts) if is_usable(prompt, self)]
        scorings = []
        for number, prompt in enumerate(usable, start=1):
            # What fits is decided here, in order, before anything is asked.
            address = candidate_address(join(self.address, step), number)
            evaluations, cells = self._evaluations(address, self._setup.mended(prompt), chosen)
            new = self._setup.calls.admit(cells, spare=self._spare)
            if new is not None:
                scorings.append(self._score(address, prompt, evaluations, new=new))
        return [trial for trial in await gather(scorings) if trial is not None]

    def _evaluations(self, address: str, prompt: str, rows: Rows) -> Evaluations:
        evaluations: list[Evaluation] = []
        cells = TrainCells()
        for node in self._nodes:
            pair, at = node.pair(prompt), join(address, "score", f"task={node.task.name}", f"prompt={node.prompt}")
            examples = [node.task.train[row] for row in rows[node.position]]
            if examples:
                evaluations.append(Evaluation(self._unobserved, pair, node.task, examples=examples, address=at))
                cells.add(pair, node.task.name, rows[node.position])
        return evaluations, cells

    async def _score(self, address: str, prompt: str, evaluations: Sequence[Evaluation], *, new: int) -> Trial | None:
        priority = self._next()
        await gather(evaluation.ask([(priority, range(evaluation.missing))]) for evaluation in evaluations)
        self._evaluated += new
        self._setup.context.observer.calls_done(base_calls=new)
        cards = [evaluation.card() for evaluation in evaluations]
        violation = self._objective.violation(cards)
        trial = None if violation else replace(self._trial(cards), prompt=prompt)
        event = events.Trial.of(self._setup.mended(prompt), level=self.level, address=address)
        self._setup.context.journal.write(
            replace(event, score=trial.score if trial else None, invalid=violation or None)
        )
        return trial

    def _trial(self, cards: Sequence[Scorecard]) -> Trial:
        best = {card.task: card for card in reversed(cards)}
        pair = cards[0].pair
        return Trial(
            prompt=pair.user if self.level == "user" else pair.system,
            score=self._objective.value(cards),
            grades=tuple(outcome.grade for card in cards for outcome in card.outcomes if outcome.grade is not None),
            wrong=tuple(
                WrongAnswer(task=name, system_prompt=card.pair.system, user_prompt=card.pair.user, failure=failure)
                for name in dict.fromkeys(card.task for card in cards)
                for card in [best[name]]
                for failure in card.failures
            ),
        )

    def _next(self) -> Priority:
        self._calls += 1
        return self._setup.priority(0, part=self._calls)
