"""The bilevel loop as plainly as it can be written: one thing after another, no engine, no gateway, no cache.

What it selects is what a run must select. It shares with the engine only the texts of the meta-prompts and the seeding
of random draws; loops, sampling order, scores, ties and redraws are written out again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import fsum
from random import Random
from typing import Any

from metaspo.backends import Message, Request, Sampling
from metaspo.engine import RunConfig
from metaspo.engine.addresses import draw_at, rng_at
from metaspo.engine.strategies import Malformed
from metaspo.engine.strategies.meta_prompts import (
    failure_block,
    meta_messages,
    read_analysis,
    read_system_prompt,
    read_user_prompt,
)
from metaspo.engine.tasks import Failure, Task

Answer = Callable[[Request], str]


@dataclass
class Evaluation:
    """One user prompt of one task under the present system prompt; it is out if an example was refused."""

    user: str
    score: float
    failures: list[Failure]
    refused: bool = False


Kept = dict[str, list[Evaluation]]  # by task, best first


class Refused(Exception):
    """A request that will never be answered."""


class Oracle:
    """Runs a config sequentially; `selections` then holds what was selected, by address."""

    def __init__(self, config: RunConfig, tasks: list[Task], answer: Answer) -> None:
        self.config = config
        self.tasks = [task for task in tasks if task.role == "source"]
        self.answer = answer
        self.selections: dict[str, dict[str, Any]] = {}
        self.asked: set[Request] = set()

    def run(self) -> None:
        """Fill `selections`."""
        self.optimize()

    def optimize(self) -> tuple[str, Kept]:
        """All iterations: the system prompt and the user prompts that they come to."""
        system = self.config.system_prompt
        kept = {
            task.name: [self.score_at(f"init/task={task.name}", task, system, task.user_prompt)] for task in self.tasks
        }
        for iteration in range(1, self.config.iterations + 1):
            for task in self.tasks:
                kept[task.name] = self.inner(task, kept[task.name], system, f"iter={iteration}/inner/task={task.name}")
            system, kept = self.outer(kept, system, f"iter={iteration}/outer")
        return system, kept

    def inner(self, task: Task, kept: list[Evaluation], system: str, address: str) -> list[Evaluation]:
        """Candidates from the best prompt; the best of old and new stay."""
        nodes = list(kept)
        for number in range(1, self.config.inner.candidates + 1):
            place = f"{address}/cand={number}"
            prompt = self.propose_user(task, kept[0], system, place)
            if prompt is None:
                continue
            node = self.score_at(f"{place}/score", task, system, prompt)
            if not node.refused and prompt not in [other.user for other in nodes]:
                nodes.append(node)
        nodes = sorted(nodes, key=rank)[: self.config.inner.keep]
        self.selections[address] = {
            "address": address,
            "kept": [{"user": node.user, "score": node.score} for node in nodes],
        }
        return nodes

    def outer(self, kept: Kept, system: str, address: str) -> tuple[str, Kept]:
        """Candidates from the incumbent; the best one replaces it if strictly better."""
        best = (system, kept)
        best_score = self.meta(kept)
        chosen = 0
        for number in range(1, self.config.outer.candidates + 1):
            place = f"{address}/cand={number}"
            prompt = self.propose_system(kept, system, place)
            if prompt is None:
                continue
            scored = {
                task.name: [
                    self.score_at(f"{place}/score/task={task.name}/prompt={position}", task, prompt, node.user)
                    for position, node in enumerate(kept[task.name])
                ]
                for task in self.tasks
            }
            if any(node.refused for nodes in scored.values() for node in nodes):
                continue
            if (score := self.meta(scored)) > best_score:
                ranked = {name: sorted(nodes, key=rank) for name, nodes in scored.items()}
                best, best_score, chosen = (prompt, ranked), score, number
        self.selections[address] = {
            "address": address,
            "system": best[0],
            "chosen": chosen,
            "score": self.meta(best[1]),
        }
        return best

    def propose_user(self, task: Task, parent: Evaluation, system: str, address: str) -> str | None:
        """Analysis, then rewrite; None if there is nothing to learn or every draw is malformed."""
        shown = pick(parent.failures, self.config.inner.failures, rng_at(self.config.seed, address))
        if not shown:
            return None
        slots = {
            "system_prompt": system,
            "user_prompt": parent.user,
            "answer_rule": task.answer_format.describe(),
            "failures": "\n\n".join(
                failure_block(failure, system_prompt=system, user_prompt=parent.user) for failure in shown
            ),
        }
        analysis = self.ask(f"{address}/analyze", meta_messages("user", "analyze", slots), read_analysis)
        if analysis is None:
            return None
        slots["analysis"] = analysis
        return self.ask(f"{address}/generate", meta_messages("user", "generate", slots), read_user_prompt)

    def propose_system(self, kept: Kept, system: str, address: str) -> str | None:
        """Failures of every task's best prompt, shuffled; analysis, then rewrite."""
        rng = rng_at(self.config.seed, address)
        blocks = []
        for task in self.tasks:
            best = kept[task.name][0]
            shown = pick(best.failures, self.config.outer.failures, rng)
            blocks += [failure_block(failure, system_prompt=system, user_prompt=best.user) for failure in shown]
        if not blocks:
            return None
        rng.shuffle(blocks)
        slots = {"system_prompt": system, "failures": "\n\n".join(blocks)}
        analysis = self.ask(f"{address}/analyze", meta_messages("system", "analyze", slots), read_analysis)
        if analysis is None:
            return None
        slots["analysis"] = analysis
        return self.ask(f"{address}/generate", meta_messages("system", "generate", slots), read_system_prompt)

    def ask(self, address: str, messages: tuple[Message, ...], read: Callable[[str], str]) -> str | None:
        """One optimizer answer that can be read; None after the last redraw, or where it is refused."""
        for attempt in range(self.config.redraws + 1):
            draw = draw_at(self.config.seed, address, attempt=attempt)
            sampling = Sampling(max_tokens=1024, temperature=1.0)
            try:
                return read(self.send(Request(model="writer", messages=messages, sampling=sampling, draw=draw)))
            except Malformed:
                continue
            except Refused:
                return None
        return None

    def score_at(self, address: str, task: Task, system: str, user: str) -> Evaluation:
        """Score on the train split; the address is for who keeps books by it."""
        return self.score(task, system, user)

    def score(self, task: Task, system: str, user: str) -> Evaluation:
        """Accuracy over the train split; a malformed answer is wrong."""
        right, failures = 0, []
        for example in task.train:
            asked = (Message("system", system), Message("user", user.replace("{question}", example.question)))
            sampling = Sampling(max_tokens=8, temperature=0.0)
            text = self.send(Request(model="answerer", messages=asked, sampling=sampling))
            prediction = text if text in ("yes", "no") else None
            if prediction == example.answers[0]:
                right += 1
            else:
                failures.append(Failure(example=example, response=text, prediction=prediction))
        return Evaluation(user, right / len(task.train), failures)

    def meta(self, kept: Kept) -> float:
        """The mean over all (task, user prompt) nodes, each with its task's weight."""
        weighed = [(task.weight, node.score) for task in self.tasks for node in kept[task.name]]
        return round(fsum(weight * score for weight, score in weighed) / fsum(weight for weight, _ in weighed), 12)

    def send(self, request: Request) -> str:
        """Ask the world, and remember what was asked."""
        self.asked.add(request)
        return self.answer(request)


def rank(node: Evaluation) -> float:
    """Best first; scores are equal that differ by rounding only."""
    return -round(node.score, 12)


def pick(failures: list[Failure], size: int, rng: Random) -> list[Failure]:
    """A sample without repeats, all of them if there are fewer."""
    return rng.sample(failures, min(size, len(failures)))
