"""The sequential oracle for what a simulation draws: other metrics and strategies, refusals, test splits, too."""

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypeVar

from oracle import Node, Oracle
from simulation_world import Said

from metaspo.backends import CONTENT_FILTER, Message, Request, Sampling
from metaspo.engine import RunConfig
from metaspo.engine.address import draw_at, rng_at
from metaspo.engine.strategies import (
    Failure,
    InnerContext,
    Malformed,
    NoProposal,
    OuterContext,
    TaskView,
)
from metaspo.engine.strategies.embedded import EmbeddedInner, EmbeddedOuter
from metaspo.engine.tasks import Example, Task

T = TypeVar("T")


@dataclass
class Scored(Node):
    """A node that may have met a refusal; `row` is what a journal says of it."""

    refused: bool = False
    row: dict[str, Any] = field(default_factory=dict)


class PlanOracle(Oracle):
    """Runs one config of a plan sequentially.

    Attributes:
        rows: what the journal must say of each scorecard, by address.
        tests: (task, stage, prompt, system, user, score, malformed, failed) of every test score.
    """

    def __init__(self, config: RunConfig, tasks: Sequence[Task], say: Callable[[Request], Said]) -> None:
        super().__init__(config, list(tasks), lambda request: say(request).text)
        self.say = say
        self.all_tasks = list(tasks)
        self.rows: dict[str, dict[str, Any]] = {}
        self.tests: list[tuple[object, ...]] = []
        self._place = ""

    def run(self) -> None:
        """Fill `selections`, `rows` and `tests`."""
        system = self.config.system_prompt
        kept: dict[str, list[Node]] = {}
        for task in self.tasks:
            kept[task.name] = [self.at(f"init/task={task.name}", task, system, task.user_prompt)]
        self.test("before", system, {name: [task.user_prompt] for name, task in self._tested("before")})
        for iteration in range(1, self.config.iterations + 1):
            for task in self.tasks:
                address = f"iter={iteration}/inner/task={task.name}"
                kept[task.name] = self.inner_round(task, kept[task.name], system, address)
            system, kept = self.outer_round(kept, system, f"iter={iteration}/outer")
        wanted = {"kept": self.config.inner.keep, "best": 1, "none": 0}[self.config.test.source]
        after = {
            name: [node.user for node in kept[name]][:wanted] if name in kept else [task.user_prompt]
            for name, task in self._tested("after")
        }
        self.test("after", system, after)

    def inner_round(self, task: Task, kept: list[Node], system: str, address: str) -> list[Node]:
        """Candidates from the best prompt; the best of old and new stay, those that met a refusal do not."""
        nodes: list[Node] = list(kept)
        for number in range(1, self.config.inner.candidates + 1):
            place = f"{address}/cand={number}"
            prompt = self.propose_user(task, kept[0], system, place)
            if prompt is None:
                continue
            node = self.at(f"{place}/score", task, system, prompt)
            if not node.refused and prompt not in [other.user for other in nodes]:
                nodes.append(node)
        nodes.sort(key=_rank)
        nodes = nodes[: self.config.inner.keep]
        chosen = [{"user": node.user, "score": node.score} for node in nodes]
        self.selections[address] = {"address": address, "kept": chosen}
        return nodes

    def outer_round(self, kept: dict[str, list[Node]], system: str, address: str) -> tuple[str, dict[str, list[Node]]]:
        """Candidates from the incumbent; the best one that met no refusal replaces it if strictly better."""
        best, best_score, chosen = (system, kept), self.meta(kept), 0
        for number in range(1, self.config.outer.candidates + 1):
            place = f"{address}/cand={number}"
            prompt = self.propose_system(kept, system, place)
            if prompt is None:
                continue
            scored = {
                task.name: [
                    self.at(f"{place}/score/task={task.name}/prompt={position}", task, prompt, node.user)
                    for position, node in enumerate(kept[task.name])
                ]
                for task in self.tasks
            }
            if any(node.refused for nodes in scored.values() for node in nodes):
                continue
            ranked: dict[str, list[Node]] = {name: sorted(nodes, key=_rank) for name, nodes in scored.items()}
            if (score := self.meta(ranked)) > best_score:
                best, best_score, chosen = (prompt, ranked), score, number
        self.selections[address] = {
            "address": address,
            "system": best[0],
            "chosen": chosen,
            "score": self.meta(best[1]),
        }
        return best

    def propose_user(self, task: Task, parent: Node, system: str, address: str) -> str | None:
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
        return _proposed(EmbeddedInner().propose(context))

    def propose_system(self, kept: dict[str, list[Node]], system: str, address: str) -> str | None:
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
        return _proposed(EmbeddedOuter().propose(context))

    def ask(self, address: str, messages: tuple[Message, ...], read: Callable[[str], str]) -> str | None:
        """One optimizer answer that can be read; None after the last redraw, or where the provider refuses."""
        for attempt in range(self.config.redraws + 1):
            sampling = Sampling(max_tokens=1024, temperature=1.0)
            draw = draw_at(self.config.seed, address, attempt=attempt)
            said = self.say(Request(model="writer", messages=messages, sampling=sampling, draw=draw))
            if said.refused:
                return None
            try:
                return read(said.text)
            except Malformed:
                continue
        return None

    def test(self, stage: str, system: str, prompts: dict[str, list[str]]) -> None:
        """Score prompts on the test splits."""
        for task in self.all_tasks:
            for position, user in enumerate(prompts.get(task.name, ())):
                node = self.score_split(task, task.test, system, user)
                self.rows[f"test/{stage}/task={task.name}/prompt={position}"] = node.row
                row = node.row
                self.tests.append(
                    (task.name, stage, position, system, user, row["score"], row["malformed"], row["failed"])
                )

    def at(self, address: str, task: Task, system: str, user: str) -> Scored:
        """Score on the train split, and remember it by address."""
        node = self.score_split(task, task.train, system, user)
        self.rows[address] = node.row
        return node

    def score_split(self, task: Task, split: Sequence[Example], system: str, user: str) -> Scored:
        """Score on any split."""
        graded: list[tuple[str | None, str]] = []
        failures, malformed, failed = [], 0, 0
        for example in split:
            said = self.say(Request(model="answerer", messages=self._messages(system, user, example), sampling=_GREEDY))
            if said.refused or said.finish_reason == CONTENT_FILTER:
                failed += 1
                continue
            prediction = said.text if said.text in ("yes", "no") else None
            malformed += prediction is None
            graded.append((prediction, example.answers[0]))
            if prediction != example.answers[0]:
                failures.append(Failure(example=example, response=said.text, prediction=prediction))
        score = _score(task.metric.name, graded) if graded else None
        row = {
            "task": task.name,
            "score": score,
            "examples": len(split),
            "malformed": malformed,
            "failed": failed,
        }
        return Scored(user, score or 0.0, failures, refused=failed > 0, row=row)

    def _messages(self, system: str, user: str, example: Example) -> tuple[Message, ...]:
        asked = user.replace("{question}", example.question)
        if self.config.roles == "merged":
            return (Message("user", f"{system}\n\n{asked}"),)
        return (Message("system", system), Message("user", asked))

    def _tested(self, stage: str) -> list[tuple[str, Task]]:
        settings = self.config.test
        if stage == "before" and not settings.baseline:
            return []
        sources = settings.source != "none"
        return [(task.name, task) for task in self.all_tasks if task.test and (sources or task.role == "target")]

    async def _no_ask(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        raise AssertionError(f"{step}: this strategy asks no optimizer")


_GREEDY = Sampling(max_tokens=8, temperature=0.0)


def _score(metric: str, graded: list[tuple[str | None, str]]) -> float:
    """Accuracy, or the plain mean of the labels' F1."""
    if metric == "accuracy":
        return sum(said == right for said, right in graded) / len(graded)
    golds = Counter(right for _, right in graded)
    said = Counter(prediction for prediction, _ in graded)
    hits = Counter(right for prediction, right in graded if prediction == right)
    return fmean(2 * hits[label] / (golds[label] + said[label]) for label in sorted(golds))


def _view(task: Task, node: Node) -> TaskView:
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


def _rank(node: Node) -> float:
    """Best first; scores are equal that differ by rounding only."""
    return -round(node.score, 12)
