"""GEPA's own package in the known-truth worlds, beside metaspo's methods: same calls, rows, models and meta-prompts.

One candidate holds the system prompt and every task's user prompt. GEPA chooses parents, minibatches and what is kept;
an adapter answers by the world's models, and has the texts written by the optimizer model as metaspo's strategy has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from random import Random
from types import SimpleNamespace
from typing import Any

from metaspo.backends import Message, Request
from metaspo.bench.known_truth.peer_models import SYSTEM, Models
from metaspo.bench.known_truth.world import FORMAT, RULE, SOURCES, WRITER, World
from metaspo.bench.known_truth.writer import Writer
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT, PromptPair, render
from metaspo.engine.strategies import Malformed
from metaspo.engine.strategies.meta_prompts import (
    failure_block,
    join_blocks,
    read_analysis,
    read_prompt,
)
from metaspo.engine.strategies.texts import META, messages, text
from metaspo.engine.tasks import Failure, Task
from metaspo.engine.tasks.base import Example

REDRAWS = 3
Row = tuple[str, Example]


@dataclass
class Adapter:
    """What GEPA asks: answers and grades, and new texts."""

    models: Models
    propose_new_texts: Any = None

    def evaluate(self, batch: Sequence[Row], candidate: Mapping[str, str], capture_traces: bool = False) -> Any:  # noqa: ANN401 - as the package has it
        """Each example's answer and grade."""
        texts = [self._answer(task, example, candidate) for task, example in batch]
        scores = [float(FORMAT.parse(text) in example.answers) for text, (_, example) in zip(texts, batch, strict=True)]
        seen = list(zip(batch, texts, scores, strict=True))
        return SimpleNamespace(
            outputs=texts, scores=scores, trajectories=seen, objective_scores=None, num_metric_calls=None
        )

    def make_reflective_dataset(
        self,
        candidate: Mapping[str, str],
        eval_batch: Any,  # noqa: ANN401 - the package's
        components_to_update: Sequence[str],
    ) -> dict[str, list[dict[str, str]]]:
        """The wrong answers that concern a component, as cases."""
        wrong = [(row, text) for row, text, score in eval_batch.trajectories if score < 1]
        return {
            name: [
                {"case": self._case(task, example, text, candidate)}
                for (task, example), text in wrong
                if name in (SYSTEM, task)
            ]
            for name in components_to_update
        }

    def write(
        self, candidate: Mapping[str, str], dataset: Mapping[str, Sequence[Mapping[str, str]]], names: Sequence[str]
    ) -> dict[str, str]:
        """New texts of the components that have cases; the others as they are."""
        return {name: self._rewrite(name, candidate, dataset.get(name, ())) or candidate[name] for name in names}

    def _answer(self, task: str, example: Example, candidate: Mapping[str, str]) -> str:
        messages = render(PromptPair(candidate[SYSTEM], candidate[task]), example.question)
        return self.models.answer(messages)

    def _case(self, task: str, example: Example, text: str, candidate: Mapping[str, str]) -> str:
        failure = Failure(example=example, response=text, prediction=FORMAT.parse(text))
        return failure_block(failure, system_prompt=candidate[SYSTEM], user_prompt=candidate[task])

    def _rewrite(self, name: str, candidate: Mapping[str, str], cases: Sequence[Mapping[str, str]]) -> str | None:
        if not cases:
            return None
        level: Any = "system" if name == SYSTEM else "user"
        slots = {"system_prompt": candidate[SYSTEM], "failures": join_blocks([case["case"] for case in cases])}
        if level == "user":
            slots |= {"user_prompt": candidate[name], "answer_rule": RULE}
        else:
            slots["form"] = text(META, "system", "set_no_form", {})
        analysis = self._ask(messages(META, level, "analyze", slots), read_analysis)
        if analysis is None:
            return None
        rewrite = messages(META, level, "generate", {**slots, "analysis": analysis})
        return self._ask(rewrite, partial(read_prompt, level=level))

    def _ask(self, messages: tuple[Message, ...], read: Any) -> str | None:  # noqa: ANN401
        for _ in range(REDRAWS + 1):
            request = Request(model=WRITER, messages=messages, draw=next(self.models.draws))
            text = self.models.wrote(messages, Writer(self.models.world).answer(request))
            try:
                return str(read(text))
            except Malformed:
                continue
        return None


class Quiet:
    """Logs nothing."""

    def log(self, message: str) -> None:
        """Nothing."""


def optimize(
    world: World,
    tasks: Sequence[Task],
    calls: int,
    *,
    minibatch: int,
    rows: int | None = None,
    every: bool = True,
) -> tuple[dict[str, str], Models]:
    """The best candidate that GEPA finds within so many calls, and what it took.

    Args:
        rows: of each task that candidates are validated on; as many as metaspo+ looks at if None.
        every: whether a mutation rewrites every component that has cases, or one of them in turn.
    """
    import gepa

    rows = rows or isqrt(calls // len(SOURCES))
    train = [(task.name, example) for task in tasks for example in task.train]
    Random(world.seed).shuffle(train)
    models = Models(world)
    adapter = Adapter(models)
    result = gepa.optimize(
        seed_candidate={SYSTEM: DEFAULT_SYSTEM_PROMPT, **{task.name: task.user_prompt for task in tasks}},
        trainset=train,
        valset=[(task.name, example) for task in tasks for example in task.train[:rows]],
        adapter=adapter,
        custom_candidate_proposer=adapter.write,
        reflection_minibatch_size=minibatch,
        module_selector="all" if every else "round_robin",
        max_metric_calls=calls,
        logger=Quiet(),
        seed=world.seed,
    )
    models.base = int(result.total_metric_calls or 0)  # as the package counts them
    return dict(result.best_candidate), models
