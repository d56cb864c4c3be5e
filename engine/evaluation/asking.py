"""How the examples of a split get their answers under a prompt pair: by one call each, or by a program."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from metaspo.backends import Completion, Request, RequestRejected
from metaspo.cache import MARK, Key, KeyedRequests, KeyPattern, request_key
from metaspo.engine.config.models import Model, model_of
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.evaluation.calling import Asked, CodeRun, NotStored, Raised
from metaspo.engine.gather import gather_many
from metaspo.engine.prompts import PromptPair, Roles, render
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.priorities import beside_others
from metaspo.engine.strategies.worked_examples import demonstrates, without_own
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.base import PLACEHOLDER
from metaspo.engine.tasks.programs import Broken, Program, ProgramError
from metaspo.scheduling import Account, Gateway, Priority

LOOKING = 64  # programs at once that only look at what is in the cache
Answered = Completion | RequestRejected | Broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The models as the examples of a run ask them.

    Attributes:
        model: the base model.
        account: of whom; None for who only looks at what is in the cache.
        judge: whom graders ask; the base model if left out.
        system_prompt: the first one.
    """

    gateway: Gateway
    model: Model
    roles: Roles
    account: Account | None = None
    judge: Model | None = None
    system_prompt: str = ""

    @classmethod
    def of(cls, config: RunConfig, gateway: Gateway, lanes: LaneNames, account: Account | None = None) -> "Base":
        """As a run of this config asks them."""
        return cls(
            gateway=gateway,
            model=model_of(config.base, lane=lanes.base, turn=lanes.turn),
            roles=config.roles,
            account=account,
            judge=model_of(config.judge, lane=lanes.judge, turn=lanes.turn) if config.judge else None,
            system_prompt=config.system_prompt,
        )


class Asking(Protocol):
    """A split under a pair; rows are positions of its examples."""

    async def recall(self, rows: Sequence[int] | None = None) -> Mapping[int, Answered]:
        """What the cache has, by row, of these rows or of all; calls nothing."""
        ...

    async def ask(self, rows: Sequence[int], priority: Priority) -> Sequence[Answered]:
        """The answers to rows, in their order."""
        ...


def asking_of(base: Base, pair: PromptPair, task: Task, examples: Sequence[Example]) -> Asking:
    """One call an example, in one batch, unless the task names a program."""
    base = replace(base, model=base.model.of_task(task))
    if task.program is None:
        return OneCall(base, pair, examples)
    return ByProgram(base, pair, task.program, examples)


class Questions(KeyedRequests):
    """A split's examples as they are asked under a pair, or those of some rows."""

    def __init__(self, base: Base, pair: PromptPair, examples: Sequence[Example]) -> None:
        self._base, self._pair, self._examples = base, pair, examples
        self._rows: Sequence[int] = range(len(examples))
        self._demonstrates = demonstrates(pair)
        self._alike = None if self._demonstrates else _alike(base, pair)
        self._made: dict[int, Request] = {}  # of rows whose keys are those of the whole request

    def of(self, rows: Sequence[int]) -> "Questions":
        """Those of some rows of the split, in this order."""
        some = Questions.__new__(Questions)  # `copy` takes ten times as long
        some.__dict__ |= self.__dict__ | {"_rows": rows}
        return some

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def model(self) -> str:
        """See `KeyedRequests`."""
        return self._base.model.name

    def make(self, position: int, /) -> Request:
        """See `KeyedRequests`."""
        row = self._rows[position]
        return self._made.get(row) or self._request(row)

    def keys(self, positions: Iterable[int], /) -> list[Key]:
        """See `KeyedRequests`."""
        rows, examples = self._rows, self._examples
        if self._alike is None:
            return [self._key(rows[position]) for position in positions]
        key = self._alike.key
        return [
            key(example.question)
            if not (example := examples[rows[position]]).history and not example.images
            else self._key(rows[position])
            for position in positions
        ]

    def _key(self, row: int) -> Key:
        """That of a whole request."""
        if row not in self._made:
            self._made[row] = self._request(row)
        return request_key(self._made[row])

    def _request(self, row: int) -> Request:
        base, example = self._base, self._examples[row]
        pair = without_own(self._pair, example.question) if self._demonstrates else self._pair
        return base.model.request(render(pair, example, roles=base.roles))


def _alike(base: Base, pair: PromptPair) -> KeyPattern | None:
    """What the keys of all bare questions have in common, where these are all that differs."""
    if pair.user.count(PLACEHOLDER) != 1:
        return None
    try:
        return KeyPattern(base.model.request(render(pair, MARK, roles=base.roles)))
    except ValueError:  # the prompts hold the mark
        return None


class OneCall:
    """The question within the user prompt, under the system prompt."""

    def __init__(self, base: Base, pair: PromptPair, examples: Sequence[Example]) -> None:
        self._base = base
        self._questions = Questions(base, pair, examples)

    async def recall(self, rows: Sequence[int] | None = None) -> Mapping[int, Completion]:
        """See `Asking`."""
        base, rows = self._base, range(len(self._questions)) if rows is None else rows
        lane = base.model.lane if base.account else ""
        stored = await base.gateway.lookup_many(self._questions.of(rows), lane=lane, account=base.account)
        return {rows[position]: answer for position, answer in stored.items()}

    async def ask(self, rows: Sequence[int], priority: Priority) -> Sequence[Completion | RequestRejected]:
        """See `Asking`."""
        base, asked = self._base, self._questions.of(rows)
        priority = beside_others(priority, base.model.turn)
        return await base.gateway.complete_many(asked, lane=base.model.lane, account=base.account, priority=priority)


class ByProgram:
    """Each example on its own, by as many calls as its program makes."""

    def __init__(self, base: Base, pair: PromptPair, program: Program, examples: Sequence[Example]) -> None:
        self._base = base
        self._pair = pair
        self._program = program
        self._examples = examples

    async def recall(self, rows: Sequence[int] | None = None) -> Mapping[int, Answered]:
        """Of those examples of which every call's answer is there: the program is run to see which calls it makes."""
        rows = range(len(self._examples)) if rows is None else rows
        rest, answers = iter(rows), dict[int, Answered]()

        async def look() -> None:
            for row in rest:
                answer = await self._run(row, priority=None)
                if answer is not None:
                    answers[row] = answer

        await gather_many(look() for _ in rows[:LOOKING])  # not a task for each: most end at their first call
        return {row: answers[row] for row in rows if row in answers}

    async def ask(self, rows: Sequence[int], priority: Priority) -> Sequence[Answered]:
        """See `Asking`."""
        answers = await gather_many(self._run(row, priority=priority) for row in rows)
        return [answer for answer in answers if answer is not None]

    async def _run(self, row: int, *, priority: Priority | None) -> Answered | None:
        """An example's answer; None if the cache does not hold all that it takes and no call may be made.

        Raises what ends a run, and `ProgramError`.
        """
        base, example = self._base, self._examples[row]
        asked = Asked(model=base.model, gateway=base.gateway, roles=base.roles, account=base.account, priority=priority)
        run = CodeRun(self._program, asked)
        try:
            returned = await run.returned(without_own(self._pair, example.question), example)
        except NotStored:
            return None
        if isinstance(returned, RequestRejected):
            return returned
        if isinstance(returned, Raised):
            return Broken(f"the program failed: {returned}")
        if isinstance(returned, Completion):
            return returned._replace(usage=run.usage)
        if isinstance(returned, str):
            return Completion(text=returned, finish_reason="stop", usage=run.usage, latency=0.0)
        raise ProgramError(
            f"program {self._program.name!r} returned {type(returned).__name__} for {example.where}: it must return "
            "text, or a completion"
        )
