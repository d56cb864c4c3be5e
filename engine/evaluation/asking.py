"""How the examples of a split get their answers under a prompt pair: by one call each, or by a program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from metaspo.backends import Completion, RequestRejected
from metaspo.engine.config.models import Model
from metaspo.engine.evaluation.program_run import ProgramRun
from metaspo.engine.gather import gather
from metaspo.engine.prompts import PromptPair, Roles, render
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.programs import Broken, Program
from metaspo.scheduling import Account, Gateway, Priority

Answered = Completion | RequestRejected | Broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The base model as the examples of a run ask it.

    Attributes:
        account: of whom; None for who only looks at what is in the cache.
    """

    gateway: Gateway
    model: Model
    roles: Roles
    account: Account | None = None


class Asking(Protocol):
    """A split under a pair; rows are positions of its examples."""

    async def recall(self) -> Mapping[int, Answered]:
        """What the cache has, by row; calls nothing."""
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


class OneCall:
    """The question within the user prompt, under the system prompt."""

    def __init__(self, base: Base, pair: PromptPair, examples: Sequence[Example]) -> None:
        self._base = base
        model, roles = base.model, base.roles
        self._requests = [model.request(render(pair, example.question, roles=roles)) for example in examples]

    async def recall(self) -> Mapping[int, Completion]:
        """See `Asking`."""
        base = self._base
        lane = base.model.lane if base.account else ""
        return await base.gateway.lookup_many(self._requests, lane=lane, account=base.account)

    async def ask(self, rows: Sequence[int], priority: Priority) -> Sequence[Completion | RequestRejected]:
        """See `Asking`."""
        base, requests = self._base, [self._requests[row] for row in rows]
        return await base.gateway.complete_many(requests, lane=base.model.lane, account=base.account, priority=priority)


class ByProgram:
    """Each example on its own, by as many calls as its program makes."""

    def __init__(self, base: Base, pair: PromptPair, program: Program, examples: Sequence[Example]) -> None:
        self._base = base
        self._pair = pair
        self._program = program
        self._examples = examples

    async def recall(self) -> Mapping[int, Answered]:
        """Of those examples of which every call's answer is there: the program is run to see which calls it makes."""
        answers = await gather(self._run(row, priority=None) for row in range(len(self._examples)))
        return {row: answer for row, answer in enumerate(answers) if answer is not None}

    async def ask(self, rows: Sequence[int], priority: Priority) -> Sequence[Answered]:
        """See `Asking`."""
        answers = await gather(self._run(row, priority=priority) for row in rows)
        return [answer for answer in answers if answer is not None]

    async def _run(self, row: int, *, priority: Priority | None) -> Answered | None:
        base = self._base
        run = ProgramRun(
            self._program,
            base.model,
            base.gateway,
            roles=base.roles,
            account=base.account,
            priority=priority,
        )
        return await run.answer(self._pair, self._examples[row])
