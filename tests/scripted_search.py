"""An arena without models: a function grades prompts, the optimizer's answers are scripted, steps are on record.

arena = ScriptedArena(level="user", tasks={"t": examples(5)}, first=["{question}"], grade=grade, answers=answers)
found = await strategy.search(arena)
assert arena.asked == [...] and arena.scored[0].prompts == (...)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

import anyio.lowlevel

from metaspo.backends import Message
from metaspo.engine.errors import PromptError
from metaspo.engine.prompts import check_system_prompt, check_user_prompt
from metaspo.engine.strategies.base import Malformed, NoProposal, TaskView
from metaspo.engine.strategies.search import RoundSize, Rows, Search, Trial, WrongAnswer
from metaspo.engine.tasks import Failure
from metaspo.engine.tasks.base import Example

T = TypeVar("T")

Grade = Callable[[str, str, int], float | None]
"""(prompt, task, row) -> 0 to 1; None: the server refuses that example."""

Answer = Callable[[str, str], str | None]
"""(step, text of the request) -> the optimizer's answer; None: it has none, the ask ends in `NoProposal`."""

RULE = "Answer with one word."


@dataclass(frozen=True, slots=True)
class Scored:
    """One call of `score` as the search made it; `rows` None means all."""

    step: str
    prompts: tuple[str, ...]
    rows: Rows | None


def examples(count: int, *, task: str = "t") -> tuple[Example, ...]:
    """`count` examples whose texts tell task and row: "question t0", answered by "answer t0"."""
    return tuple(
        Example(question=f"question {task}{row}", answers=(f"answer {task}{row}",), where=f"{task}:{row}")
        for row in range(count)
    )


def tagged(tag: str, inside: str) -> str:
    """An optimizer's answer: some talk around one tag."""
    return f"Here it is.\n<{tag}>\n{inside}\n</{tag}>"


def wanted(request: str) -> str:
    """Which tag a request asks for: the last "between <tag> and </tag>" in it."""
    return request.rsplit("between <", 1)[1].split(">", 1)[0]


def user_prompt(name: str) -> str:
    """A usable prompt that tells its name, and that an induction or variation brings as it stands."""
    return f"{name} {{question}} {RULE}"


def numbered(step: str, request: str) -> str:
    """A different prompt for every step."""
    tag = wanted(request)
    return tagged(tag, f"Read. by {step}" + (" {question}" if tag == "user_prompt" else ""))


class ScriptedArena:
    """An `SearchContext` whose models are functions.

    Args:
        tasks: the train examples by task name, in order; one task at level "user".
        first: the prompts that are there; they are scored on all rows and put best first.
        grade: of (prompt, task, row); the same under each user prompt of the task.
        answers: the optimizer: a function of (step, request), a mapping by step, or a list used up by ask after ask.
        users: the kept user prompts by task, best first; one for each task if not given. Each makes a node.
        redraws: how often a malformed answer is asked for again.
        reads: whether wrong answers can be read.
        jitter: a seed: asks and scores finish in some other order than they began.

    Attributes:
        asked: the steps of the optimizer calls in the order of their start; `requests` has their texts by step.
        scored: every call of `score`, in the order of their start.
        rngs: the steps whose generator was taken, `sample` included.
    """

    def __init__(
        self,
        *,
        level: Literal["user", "system"],
        tasks: Mapping[str, Sequence[Example]],
        first: Sequence[str],
        grade: Grade,
        answers: Answer | Mapping[str, str] | Sequence[str] = (),
        candidates: int = 3,
        past: Sequence[str] = (),
        users: Mapping[str, Sequence[str]] | None = None,
        system_prompt: str = "You are helpful.",
        seed: int = 0,
        redraws: int = 0,
        reads: bool = False,
        jitter: int | None = None,
    ) -> None:
        assert level == "system" or len(tasks) == 1, "the inner loop's arena has one task"
        self.level: Literal["user", "system"] = level
        self.candidates = candidates
        self.room: int | None = None
        self.past = tuple(past)
        self.asked: list[str] = []
        self.requests: dict[str, str] = {}
        self.scored: list[Scored] = []
        self.rngs: list[str] = []
        self._given = 0
        self._train = {name: tuple(train) for name, train in tasks.items()}
        self._users = {name: tuple((users or {}).get(name, ("Read. {question}",))) for name in self._train}
        self._grade = grade
        self._answers = answers
        self._system_prompt = system_prompt
        self._seed = seed
        self._redraws = redraws
        self._prediction = "another" if reads else None
        self._jitter = None if jitter is None else Random(jitter)
        self._known = set(first)
        self._cells: set[tuple[str, str, str, int]] = set()
        trials = [trial for prompt in first if (trial := self.trial(prompt)) is not None]
        self.first = tuple(sorted(trials, key=lambda trial: -trial.score))

    @property
    def nodes(self) -> int:
        """How many pairs a prompt is scored on."""
        return 1 if self.level == "user" else sum(map(len, self._users.values()))

    @property
    def tasks(self) -> tuple[TaskView, ...]:
        """The tasks under the best prompt there is."""
        best = self.first[0]
        return tuple(
            TaskView(
                name=name,
                user_prompt=best.prompt if self.level == "user" else self._users[name][0],
                score=_mean([self._grade(best.prompt, name, row) or 0.0 for row in range(len(train))]),
                train=train,
                failures=tuple(wrong.failure for wrong in best.wrong if wrong.task == name),
                answer_rule=RULE,
                right=tuple(
                    (one, one.answers[0]) for row, one in enumerate(train) if self._grade(best.prompt, name, row) == 1
                ),
            )
            for name, train in self._train.items()
        )

    @property
    def size(self) -> RoundSize:
        """What `work` is told of this arena."""
        per_task = {name: 1 if self.level == "user" else len(users) for name, users in self._users.items()}
        return RoundSize(
            level=self.level,
            candidates=self.candidates,
            tasks=len(self._train),
            nodes=self.nodes,
            rows=sum(per_task[name] * len(train) for name, train in self._train.items()),
        )

    @property
    def base_calls(self) -> int:
        """Different (prompt, user prompt, example) that were scored, without the prompts of `first`: cached already."""
        return len(self._cells)

    @property
    def optimizer_calls(self) -> int:
        """Calls of `ask`: what `work` counts, redraws left out."""
        return len(self.asked)

    def rng(self, step: str) -> Random:
        """The generator of a step."""
        assert step not in self.rngs, f"the generator of {step} is taken twice"
        self.rngs.append(step)
        return Random(f"{self._seed}/{step}")

    def sample(self, step: str, *, per_task: int) -> Rows:
        """Rows of each task, drawn by the step's generator."""
        rng = self.rng(step)
        return tuple(
            tuple(sorted(rng.sample(range(len(train)), min(per_task, len(train))))) for train in self._train.values()
        )

    def usable(self, prompt: str) -> str:
        """The prompt, stripped; raises `Malformed`."""
        try:
            return (check_user_prompt if self.level == "user" else check_system_prompt)(prompt.strip())
        except PromptError as error:
            raise Malformed(str(error)) from error

    async def ask(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        """The next scripted answer, read."""
        assert step not in self.asked, f"{step} is asked twice"
        assert [message.role for message in messages] == ["system", "user"]
        self.asked.append(step)
        self.requests[step] = messages[-1].content
        await self._wait()
        why = "the script has no answer"
        for _ in range(self._redraws + 1):
            answer = self._answer(step)
            if answer is None:
                break
            try:
                return parse(answer)
            except Malformed as error:
                why = str(error)
        raise NoProposal(f"{step}: {why}")

    async def score(self, step: str, prompts: Sequence[str], *, rows: Rows | None = None) -> list[Trial]:
        """The trials of the usable, different, unrefused prompts."""
        assert all(step != scored.step for scored in self.scored), f"{step} is scored twice"
        assert rows is None or len(rows) == len(self._train), "rows are given for each task"
        self.scored.append(Scored(step, tuple(prompts), rows))
        await self._wait()
        trials: list[Trial] = []
        for prompt in dict.fromkeys(prompts):
            try:
                self.usable(prompt)
            except Malformed:
                continue
            trial = self.trial(prompt, rows)
            trials += [] if trial is None else [trial]
        return trials

    def trial(self, prompt: str, rows: Rows | None = None) -> Trial | None:
        """How a prompt fares on some rows, or on all; None if the server refuses one of them."""
        chosen = rows if rows is not None else tuple(tuple(range(len(train))) for train in self._train.values())
        scores: list[float] = []
        grades: list[float] = []
        wrong: list[WrongAnswer] = []
        for (name, train), places in zip(self._train.items(), chosen, strict=True):
            users = (prompt,) if self.level == "user" else self._users[name]
            for user in users if places else ():
                node: list[float] = []
                for row in places:
                    grade = self._grade(prompt, name, row)
                    if prompt not in self._known:
                        self._cells.add((prompt, name, user, row))
                    if grade is None:
                        return None
                    node.append(grade)
                    if grade < 1 and user == users[0]:
                        wrong.append(self._wrong(prompt, name, user, train[row]))
                scores.append(_mean(node))
                grades += node
        return Trial(prompt=prompt, score=_mean(scores), grades=tuple(grades), wrong=tuple(wrong))

    def _wrong(self, prompt: str, task: str, user: str, example: Example) -> WrongAnswer:
        return WrongAnswer(
            task=task,
            system_prompt=prompt if self.level == "system" else self._system_prompt,
            user_prompt=user,
            failure=Failure(example=example, response=f"wrong for {example.question}", prediction=self._prediction),
        )

    def _answer(self, step: str) -> str | None:
        if callable(self._answers):
            return self._answers(step, self.requests[step])
        if isinstance(self._answers, Mapping):
            return self._answers.get(step)
        self._given += 1
        return self._answers[self._given - 1] if self._given <= len(self._answers) else None

    async def _wait(self) -> None:
        for _ in range(1 if self._jitter is None else self._jitter.randint(1, 9)):
            await anyio.lowlevel.checkpoint()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


async def check_bound_and_replay(search: Search, arenas: Sequence[ScriptedArena]) -> None:
    """It takes no more than it says in any of these, and finds the same in all."""
    proposals = []
    for arena in arenas:
        try:
            proposals.append(await search.search(arena))
        except NoProposal:
            proposals.append([])
        bound = search.work(arena.size)
        assert arena.base_calls <= bound.base
        assert arena.optimizer_calls <= bound.optimizer
    assert all(proposed == proposals[0] for proposed in proposals)
