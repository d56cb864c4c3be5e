"""What a search is: a strategy that looks for prompts in several steps, scoring some of them on its way.

Population methods, beams, bandits and chained edits are searches. The loop hands a search a `SearchContext`, in which
it asks the optimizer model and scores prompts; what it returns, best first, the loop scores in full and selects from,
as it does with the candidates of a strategy that proposes one at a time. One class serves both loops: in the inner loop
it is about one task under a fixed system prompt, in the outer loop about all tasks with their kept user prompts.

A search holds no state between calls and draws at random only from `context.rng`, so that a run replays to the digit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar, runtime_checkable

from metaspo.backends import Message
from metaspo.engine.strategies.base import Level, TaskView
from metaspo.engine.tasks import Failure

T = TypeVar("T")

Rows = tuple[tuple[int, ...], ...]  # per task, positions of train examples


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAnswer:
    """A wrong answer with the pair it was given under."""

    task: str
    system_prompt: str
    user_prompt: str
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One prompt and how it fared on the rows that were asked.

    Attributes:
        score: 0 to 1; the mean over the nodes, each node by its task's metric.
        grades: 0 to 1 per answer: node by node, each in the order of its rows. The same place is the same example (and
            the same other prompt of the pair) in every trial on equal rows.
        wrong: what is not fully right, task by task in the order of the rows; in the outer loop under each task's best
            user prompt only.
    """

    prompt: str
    score: float
    grades: tuple[float, ...]
    wrong: tuple[WrongAnswer, ...]


class SearchContext(Protocol):
    """One round of a loop as a search sees it.

    Attributes:
        level: which prompt is looked for: "user" in the inner loop, "system" in the outer loop.
        candidates: how many prompts the loop will look at when the search returns; more are cut off.
        first: the prompts that are there, best first, scored on every row: the kept user prompts, or the incumbent.
        past: every prompt that this search returned in the run's earlier iterations, oldest first, each once.
        tasks: the tasks under the best prompts there are; exactly one at level "user".
        nodes: how many (task, user prompt) pairs a prompt is scored on; 1 at level "user".
        room: how many more prompts may be scored on every row where the run's `train_calls` are capped, else None. Look
            at it between steps: with none left a search ends, and what it scores side by side, as its prompts come in,
            has to fit, for else it would depend on timing what does not.
    """

    @property
    def level(self) -> Level: ...

    @property
    def candidates(self) -> int: ...

    @property
    def first(self) -> tuple[Trial, ...]: ...

    @property
    def past(self) -> tuple[str, ...]: ...

    @property
    def tasks(self) -> tuple[TaskView, ...]: ...

    @property
    def nodes(self) -> int: ...

    @property
    def room(self) -> int | None: ...

    def rng(self, step: str) -> Random:
        """The generator of a step: the same draws whatever happened elsewhere. A step's name is used once."""
        ...

    def sample(self, step: str, *, per_task: int) -> Rows:
        """`per_task` train examples of each task (all, if there are fewer), drawn without repeats by `rng(step)`."""
        ...

    def usable(self, prompt: str) -> str:
        """The prompt, stripped. Raises `Malformed` if the loop could not use it: for the `parse` of an `ask`."""
        ...

    async def ask(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        """Ask the optimizer model, as `Ask` does; raises `NoProposal`. A step's name is used once."""
        ...

    async def score(self, step: str, prompts: Sequence[str], *, rows: Rows | None = None) -> list[Trial]:
        """Score prompts side by side on some rows, on all of them if none are given.

        Trials come in the order of the prompts. Left out are repeats, prompts that the loop could not use, those under
        which the server refused an example, and those for which no calls are left.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSize:
    """How large a round is, for counting calls before the first one.

    Attributes:
        level: "user" or "system".
        candidates: how many prompts the loop will look at.
        tasks: how many tasks there are; 1 at level "user".
        nodes: how many (task, user prompt) pairs a prompt is scored on.
        rows: how many examples that makes for one prompt, over all nodes.
    """

    level: Level
    candidates: int
    tasks: int
    nodes: int
    rows: int

    def batch(self, per_task: int) -> int:
        """At most so many calls score one prompt on `per_task` examples of each task."""
        return min(self.rows, per_task * self.nodes)


@dataclass(frozen=True, slots=True)
class CallBound:
    """Calls of one round at most, without redraws of malformed answers and without the loop's own full scoring."""

    base: int
    optimizer: int


@runtime_checkable
class Search(Protocol):
    """Looks for prompts in a `SearchContext`; see `Strategy` for `name` and `describe()`.

    Hyper-parameters are the class's fields: a config sets them in the loop's `options`.
    """

    @property
    def name(self) -> str: ...

    @property
    def levels(self) -> frozenset[Level]:
        """What it can look for."""
        ...

    def describe(self) -> str: ...

    def work(self, size: RoundSize, /) -> CallBound:
        """The most calls that one round can take."""
        ...

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The prompts found, best first; they need not hold those of `context.first`. Raises `NoProposal`."""
        ...
