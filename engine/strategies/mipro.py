"""MIPRO: instructions and sets of demonstrations are made first, then a surrogate looks for the best combination.

Opsahl-Ong et al., "Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs" (arXiv
2406.11695), in its second version. Demonstrations are bootstrapped from answers that were right; instructions are
proposed by the optimizer model, which sees a summary of the data, examples, and a tip drawn for each. Then trial after
trial a surrogate chooses an instruction and a set, which are scored together on a minibatch; every few trials the
combination with the best mean is scored on all rows. The best of those is the result.

Our readings:
- A round is about one text, a user prompt or the system prompt, where the published search does all modules of a
  program at once. Demonstrations are a block of that text; at level "system" they come from all tasks in turn.
- What the first prompts answered rightly, scored already, are the demonstrations' source: bootstrapping costs no call.
- The prompts that are there are among the combinations, with the scores that they have.
- The program is one call, so there is no code of it to describe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import ClassVar, TypeVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from metaspo.engine.gather import gather
from metaspo.engine.strategies.ape import induction_reader, pairs
from metaspo.engine.strategies.base import Level, require_failures
from metaspo.engine.strategies.drawn_examples import draw_demonstrations
from metaspo.engine.strategies.meta_prompts import read_analysis
from metaspo.engine.strategies.search import CallBound, RoundSize, SearchContext, Trial
from metaspo.engine.strategies.searching import (
    BOTH_LEVELS,
    ask_or_none,
    new_prompts,
    ranked,
    rule_slots,
)
from metaspo.engine.strategies.selection import share
from metaspo.engine.strategies.surrogate import INSTALL, Surrogate, is_installed
from metaspo.engine.strategies.texts import messages, text
from metaspo.engine.strategies.worked_examples import WorkedExample, join_system, join_user, split_system, split_user

T = TypeVar("T")

Demonstrations = tuple[WorkedExample, ...]
Combination = tuple[int, int]  # of an instruction and a set


@dataclass(slots=True)
class Pieces:
    """What prompts are put together from, each piece once."""

    level: Level
    instructions: list[str] = field(default_factory=list)
    sets: list[Demonstrations] = field(default_factory=lambda: [()])

    def take_apart(self, prompt: str) -> Combination:
        """The combination that makes the prompt; what is new in it becomes a piece."""
        instruction, shown = _split(prompt, self.level)
        return self.position(instruction), _position(self.sets, shown)

    def position(self, instruction: str) -> int:
        """Where the instruction is, at the end if it is new."""
        return _position(self.instructions, instruction)

    def write(self, combination: Combination) -> str:
        """The prompt that a combination makes."""
        instruction, shown = self.instructions[combination[0]], self.sets[combination[1]]
        return join_user(shown, instruction) if self.level == "user" else join_system(instruction, shown)


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Mipro:
    """Proposed instructions and bootstrapped demonstrations, and a surrogate that combines them.

    Attributes:
        instructions: proposals, beside the prompts that are there.
        sets: of demonstrations, beside none at all.
        bootstrapped: right answers in a set, at most.
        labeled: demonstrations that a set is filled up to with right outcomes from the data.
        trials: combinations that are tried on a minibatch.
        minibatch: examples of a trial, of all tasks together.
        full_every: after so many trials, and the last, the best combination by its mean is scored on all rows.
        seen: examples that the optimizer model sees when it summarizes the data, and when it proposes.
    """

    name: ClassVar[str] = "mipro"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    instructions: int = Field(default=6, ge=1)
    sets: int = Field(default=6, ge=0)
    bootstrapped: int = Field(default=4, ge=0)
    labeled: int = Field(default=4, ge=0)
    trials: int = Field(default=20, ge=1)
    minibatch: int = Field(default=35, ge=1)
    full_every: int = Field(default=5, ge=1)
    seen: int = Field(default=10, ge=1)

    def __post_init__(self) -> None:
        """Raises `ValueError` where Optuna is missing."""
        if not is_installed():
            raise ValueError(INSTALL)

    def describe(self) -> str:
        """One line for the report."""
        return (
            "the optimizer model writes instructions from a summary of the data, right answers become demonstrations, "
            "and a surrogate looks for the best combination (MIPRO)"
        )

    def work(self, size: RoundSize, /) -> CallBound:
        """Every trial another combination, every full score of one that its minibatch says nothing of."""
        batch = size.batch(share(self.minibatch, size.tasks))
        full = -(-self.trials // self.full_every)
        return CallBound(base=self.trials * batch + full * size.rows, optimizer=self.instructions + 1)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The combinations that were scored on all rows, best first. Raises `NoProposal`."""
        require_failures(context.tasks)
        pieces = Pieces(context.level)
        first = {pieces.take_apart(trial.prompt): trial for trial in context.first}
        for number in range(1, self.sets + 1):
            _position(pieces.sets, self._demonstrations(context, number))
        for instruction in await self._propose(context, pieces):
            pieces.position(instruction)
        scored = await self._combine(context, pieces, first)
        return new_prompts(context, [trial.prompt for trial in ranked(scored)])

    def _demonstrations(self, context: SearchContext, number: int) -> Demonstrations:
        """Right answers, of which the first set has none, and as many labeled examples as are missing."""
        rng = context.rng(f"set={number}")
        right = 0 if number == 1 or not self.bootstrapped else rng.randint(1, self.bootstrapped)
        size = max(right, self.labeled)
        return draw_demonstrations(context.tasks, level=context.level, right=right, size=size, rng=rng)

    async def _propose(self, context: SearchContext, pieces: Pieces) -> list[str]:
        """New instructions, side by side."""
        request = messages("mipro", context.level, "summarize", {"pairs": self._pairs(context, "summary/examples")})
        summary = await ask_or_none(context, "summary/summarize", request, read_analysis)
        proposed = await gather(
            self._instruction(context, f"instruction={number}", pieces.instructions[0], summary or "(none)")
            for number in range(1, self.instructions + 1)
        )
        return [_split(prompt, context.level)[0] for prompt in proposed if prompt is not None]

    async def _instruction(self, context: SearchContext, step: str, present: str, summary: str) -> str | None:
        level = context.level
        task = context.tasks[0]
        rules = "rules" if task.states_rule or level == "system" else "rules_unstated"
        slots = {
            "kind": f"{level} prompt",
            "summary": summary,
            "prompt": present,
            "pairs": self._pairs(context, f"{step}/examples"),
            "tip": context.rng(f"{step}/tip").choice(["", *text("mipro", level, "tips", {}).splitlines()]),
            "rules": text("mipro", level, rules, rule_slots(context, "mipro")),
        }

        request = messages("mipro", level, "propose", slots)
        return await ask_or_none(context, f"{step}/propose", request, induction_reader(context))

    def _pairs(self, context: SearchContext, step: str) -> str:
        rows = context.sample(step, per_task=share(self.seen, len(context.tasks)))
        return pairs(task.train[row] for task, places in zip(context.tasks, rows, strict=True) for row in places)

    async def _combine(self, context: SearchContext, pieces: Pieces, first: dict[Combination, Trial]) -> list[Trial]:
        """What was scored on all rows, the first prompts included."""
        spaces, seed = _named((len(pieces.instructions), len(pieces.sets))), context.rng("surrogate").getrandbits(32)
        surrogate = Surrogate(
            {name: range(size) for name, size in spaces.items()}, seed=seed, startup=max(1, min(10, self.trials // 4))
        )
        scored, means = dict(first), dict[Combination, list[float]]()
        full = {*first}  # also what was refused there, and would be again
        for combination, trial in first.items():
            surrogate.add(_named(combination), trial.score)
        for number in range(1, self.trials + 1):
            if context.room == 0:
                break
            asked, step = surrogate.ask(), f"trial={number}"
            combination = int(asked["first"]), int(asked["second"])
            rows = context.sample(f"{step}/minibatch", per_task=share(self.minibatch, len(context.tasks)))
            tried = await context.score(f"{step}/try", [pieces.write(combination)], rows=rows)
            surrogate.tell(tried[0].score if tried else None)
            if tried:
                means.setdefault(combination, []).append(tried[0].score)
            left = [combination for combination in means if combination not in full]
            if left and (number % self.full_every == 0 or number == self.trials):
                best = max(left, key=lambda combination: fmean(means[combination]))
                full.add(best)
                for trial in await context.score(f"{step}/score", [pieces.write(best)]):
                    scored[best] = trial
                    surrogate.add(_named(best), trial.score)
        return list(scored.values())


def _named(combination: Combination) -> dict[str, int]:
    return dict(zip(("first", "second"), combination, strict=True))


def _split(prompt: str, level: Level) -> tuple[str, Demonstrations]:
    if level == "system":
        return split_system(prompt)
    shown, instruction = split_user(prompt)
    return instruction, shown


def _position(pieces: list[T], piece: T) -> int:
    if piece not in pieces:
        pieces.append(piece)
    return pieces.index(piece)
