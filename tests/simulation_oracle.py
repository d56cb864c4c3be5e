"""The sequential oracle for what a simulation draws: other metrics and strategies, refusals, test splits, too."""

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from math import fsum
from statistics import fmean
from typing import Any, TypeVar

from oracle import Evaluation, Kept, Oracle, Refused, without_own
from simulation_world import Said
from world import DOUBT

from metaspo.backends import CONTENT_FILTER, Completion, Message, Request, Sampling, Usage
from metaspo.engine import RunConfig
from metaspo.engine.addresses import rng_at
from metaspo.engine.prompts import PromptPair
from metaspo.engine.strategies import InnerContext, NoProposal, OuterContext, TaskView
from metaspo.engine.strategies.embedded import EmbeddedInner, EmbeddedOuter
from metaspo.engine.tasks import Example, Failure, Task

T = TypeVar("T")


class PlanOracle(Oracle):
    """Runs one config of a plan sequentially.

    Attributes:
        rows: what the journal must say of each scorecard, by address.
        tests: (task, stage, prompt, system, user, score, malformed, failed) of every test score.
    """

    def __init__(self, config: RunConfig, tasks: Sequence[Task], say: Callable[[Request], Said]) -> None:
        def answer(request: Request) -> str:
            if (said := say(request)).refused:
                raise Refused
            return said.text

        super().__init__(config, list(tasks), answer)
        self.say = say
        self.all_tasks = list(tasks)
        self.rows: dict[str, dict[str, Any]] = {}
        self.tests: list[tuple[object, ...]] = []

    def run(self) -> None:
        """Fill `selections`, `rows` and `tests`."""
        before = {name: [task.user_prompt] for name, task in self._tested("before")}
        self.test("before", self.config.system_prompt, before)
        system, kept = self.optimize()
        wanted = {"kept": self.config.inner.keep, "best": 1, "none": 0}[self.config.test.source]
        after = {
            name: [node.user for node in kept[name]][:wanted] if name in kept else [task.user_prompt]
            for name, task in self._tested("after")
        }
        self.test("after", system, after)

    def propose_user(self, task: Task, parent: Evaluation, system: str, address: str) -> str | None:
        """As the strategy says; MetaSPO's own is written out in the oracle."""
        if self.config.inner.strategy == "metaspo":
            return super().propose_user(task, parent, system, address)
        context = InnerContext(
            address=address,
            candidate=_number(address),
            show=self.config.inner.failures,
            rng=rng_at(self.config.seed, address),
            system_prompt=system,
            task=_view(task, parent),
            ask=self._no_ask,
        )
        return self.or_none(_proposed(EmbeddedInner().propose(context)), task)

    def propose_system(self, kept: Kept, system: str, address: str) -> str | None:
        """As the strategy says; MetaSPO's own is written out in the oracle."""
        if self.config.outer.strategy == "metaspo":
            return super().propose_system(kept, system, address)
        context = OuterContext(
            address=address,
            candidate=_number(address),
            show=self.config.outer.failures,
            rng=rng_at(self.config.seed, address),
            system_prompt=system,
            tasks=tuple(_view(task, kept[task.name][0]) for task in self.tasks),
            ask=self._no_ask,
        )
        return self.or_none(_proposed(EmbeddedOuter().propose(context)), None)

    def test(self, stage: str, system: str, prompts: dict[str, list[str]]) -> None:
        """Score prompts on the test splits."""
        for task in self.all_tasks:
            for position, user in enumerate(prompts.get(task.name, ())):
                _, row = self.score_split(task, task.test, system, user)
                self.rows[f"test/{stage}/task={task.name}/prompt={position}"] = row
                self.tests.append(
                    (task.name, stage, position, system, user, row["score"], row["malformed"], row["failed"])
                )

    def score_at(self, address: str, task: Task, system: str, user: str) -> Evaluation:
        """Score on the train split, and remember it by address."""
        node, self.rows[address] = self.score_split(task, task.train, system, user)
        return node

    def score_split(
        self, task: Task, split: Sequence[Example], system: str, user: str
    ) -> tuple[Evaluation, dict[str, Any]]:
        """Score on any split; what a journal says of it, too."""
        graded: list[tuple[str | None, str]] = []
        grades: list[float] = []
        failures, right, malformed, failed = [], [], 0, 0
        for example in split:
            said = self._said(task, PromptPair(system, user), example)
            if said.refused or said.finish_reason == CONTENT_FILTER:
                failed += 1
                continue
            prediction = said.text if said.text in ("yes", "no") else None
            try:
                grade = self.grade(task, prediction, example)
            except Refused:  # the judge
                failed += 1
                continue
            malformed += prediction is None
            graded.append((prediction, example.answers[0]))
            grades.append(grade.score)
            if grade.score == 1:
                right.append((example, said.text))
            if grade.score < 1:
                feedback = grade.feedback
                failures.append(Failure(example=example, response=said.text, prediction=prediction, feedback=feedback))
        score = _score(task.metric.name, graded, grades) if graded else None
        row = {
            "task": task.name,
            "score": score,
            "examples": len(split),
            "malformed": malformed,
            "failed": failed,
        }
        return Evaluation(user, score or 0.0, failures, refused=failed > 0, right=tuple(right)), row

    def answered(self, task: Task, pair: PromptPair, example: Example) -> str:
        """What an example is answered under first prompts, which no server refuses."""
        return self._said(task, pair, example).text

    def is_cut(self, request: Request) -> bool:
        """Whether the answer to a request is cut off."""
        return self.say(request).finish_reason == "length"

    def completion(self, messages: tuple[Message, ...], temperature: float) -> Completion:
        """What a program's call brings, if no server refuses it."""
        if self.config.roles == "merged":
            messages = (Message("user", "\n\n".join(message.content for message in messages)),)
        sampling = Sampling(max_tokens=8, temperature=temperature)
        said = self.say(Request(model="answerer", messages=messages, sampling=sampling))
        if said.refused:
            raise Refused
        return Completion(text=said.text, finish_reason=said.finish_reason, usage=said.usage, latency=0.0)

    def _said(self, task: Task, pair: PromptPair, example: Example) -> Said:
        """What an example is answered, by one call or by a program."""
        pair = PromptPair(without_own(pair.system, example.question), without_own(pair.user, example.question))
        if task.program is None:
            return self.say(Request(model="answerer", messages=self.messages(pair, example), sampling=_GREEDY))
        try:
            returned = self.returned(task.program, pair, example)
        except Refused:
            return Said("", "", Usage(0, 0), refused=True)
        if isinstance(returned, str):
            return Said(returned, "stop", Usage(0, 0))
        return Said(returned.text, returned.finish_reason, returned.usage)

    def _tested(self, stage: str) -> list[tuple[str, Task]]:
        settings = self.config.test
        if stage == "before" and not settings.baseline:
            return []
        sources = settings.source != "none"
        return [(task.name, task) for task in self.all_tasks if task.test and (sources or task.role != "source")]

    async def _no_ask(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        raise AssertionError(f"{step}: this strategy asks no optimizer")


_GREEDY = Sampling(max_tokens=8, temperature=0.0)


def _score(metric: str, graded: list[tuple[str | None, str]], grades: list[float]) -> float:
    """Accuracy, the mean of the grades of a judge or a function, or the plain mean of the labels' F1."""
    if metric in ("judge", DOUBT):
        return fsum(grades) / len(grades)
    if metric == "accuracy":
        return sum(said == right for said, right in graded) / len(graded)
    golds = Counter(right for _, right in graded)
    said = Counter(prediction for prediction, _ in graded)
    hits = Counter(right for prediction, right in graded if prediction == right)
    return fmean(2 * hits[label] / (golds[label] + said[label]) for label in sorted(golds))


def _view(task: Task, node: Evaluation) -> TaskView:
    return TaskView(
        name=task.name,
        user_prompt=node.user,
        score=node.score,
        train=task.train,
        failures=tuple(node.failures),
        answer_rule=task.answer_format.describe(),
    )


def _number(address: str) -> int:
    return int(address.rpartition("cand=")[2])


def _proposed(proposing: Coroutine[Any, Any, str]) -> str | None:
    """Drive a strategy that waits for nothing."""
    try:
        proposing.send(None)
    except StopIteration as done:
        return str(done.value)
    except NoProposal:
        return None
    raise AssertionError("a strategy without an optimizer waited for something")
