"""DSPy's own MIPROv2 in the known-truth worlds. Imported only where DSPy is installed.

One program holds the system prompt and every task's prompt as instructions of predictors, as GEPA's candidate does, and
MIPROv2 proposes for each of them and searches over all at once. It is put to the base model as metaspo puts its own.
"""

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from math import isqrt
from random import Random
from typing import Any

import dspy

from metaspo.bench.known_truth.peer_models import SYSTEM, Models, as_user_prompt, chat, instruction_of
from metaspo.bench.known_truth.peer_writer import PeerWriter
from metaspo.bench.known_truth.world import FORMAT, SOURCES, World
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT
from metaspo.engine.tasks import Task

FULL_EVERY = 5  # minibatches; the package's
ENOUGH, AGAIN = 0.85, 2  # of the calls; tries with more trials, where they were fewer
_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]\n(.*?)(?=\n\n\[\[ ##|\Z)", flags=re.DOTALL)
_ASKED = re.compile(r"starting with the field `\[\[ ## (\w+) ## \]\]`")


class Engine:
    """One of the world's models, as DSPy asks it."""

    def __init__(self, models: Models, *, writes: bool) -> None:
        """`writes`: the optimizer model, else the base model."""
        self._models, self._writes = models, writes

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - DSPy's
        """An answer."""
        said = request.messages[-1].text
        messages = chat(request.system if isinstance(request.system, str) else request.system[0].text, said)
        text = self._write(said, messages) if self._writes else self._models.answer(messages)
        return dspy.lm15.Response(
            id=None,
            model=request.model,
            message=dspy.lm15.Message.assistant(text),
            finish_reason="stop",
            usage=dspy.lm15.Usage(),
        )

    def _write(self, said: str, messages: Any) -> str:  # noqa: ANN401
        asked = _ASKED.findall(said)[-1]
        given = dict(_FIELD.findall(said))
        text = PeerWriter(self._models.world).to_dspy(asked, given, next(self._models.draws))
        return self._models.wrote(messages, f"[[ ## {asked} ## ]]\n{text}\n\n[[ ## completed ## ]]")


class Plain(dspy.Adapter):  # type: ignore[misc, unused-ignore] # DSPy is not installed where the types are checked
    """Instruction, demonstrations and question in one message below the system prompt, without any further words."""

    def __init__(self, system: str) -> None:
        super().__init__()
        self._system = system

    def format(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> list[dict[str, str]]:  # noqa: ANN401
        """The messages."""
        user = f"{_with_demos(signature.instructions, demos)}\n\n{inputs['question']}"
        return [{"role": "system", "content": self._system}, {"role": "user", "content": user}]

    def parse(self, signature: Any, completion: str) -> dict[str, str]:  # noqa: ANN401 - DSPy's
        """All of it is the answer."""
        return {"answer": completion}


class Ask(dspy.Module):  # type: ignore[misc, unused-ignore]
    """Answers a question of a task with the task's prompt under a system prompt for all tasks."""

    def __init__(self, system: str, prompts: Mapping[str, str]) -> None:
        super().__init__()
        self.system = dspy.Predict(dspy.Signature("question -> answer", system))
        self.tasks = [dspy.Predict(dspy.Signature("question -> answer", text)) for text in prompts.values()]
        self.names = list(prompts)

    def forward(self, task: str, question: str) -> Any:  # noqa: ANN401 - DSPy's
        """The answer, under the system prompt."""
        with dspy.context(adapter=Plain(self.system.signature.instructions)):
            return self.tasks[self.names.index(task)](question=question)


def optimize(
    world: World,
    tasks: Sequence[Task],
    calls: int,
    *,
    minibatch: int,
    candidates: int,
    demos: tuple[int, int],
    proposed_on: int | None = None,
    rows: int | None = None,
) -> tuple[dict[str, str], Models]:
    """The best program that MIPROv2 finds within so many calls, and what it took.

    Args:
        candidates: of each instruction and each set of demonstrations.
        demos: that are bootstrapped and labelled at most.
        proposed_on: rows that are summarized and that demonstrations come from; all if None.
        rows: of all tasks that programs are validated on; as many of each as metaspo+ looks at if None.
    """
    search = _Search(world, tasks, minibatch=minibatch, candidates=candidates, demos=demos, proposed_on=proposed_on)
    rows_of_each = isqrt(calls // len(SOURCES))
    examples = search.examples[len(search.examples) - rows :] if rows else None
    valset = examples or [_example(task, number) for task in tasks for number in range(rows_of_each)]
    trials = _trials(calls - search.most_bootstrapped - len(valset), minibatch, len(valset))
    best, models = search.run(valset, trials)
    for _ in range(AGAIN):
        if models.base >= ENOUGH * calls:
            break
        trials = int(trials * calls / models.base)
        more, took = search.run(valset, trials)
        if took.base > calls:
            break
        best, models = more, took
    texts = {
        name: as_user_prompt(_with_demos(asked.signature.instructions, asked.demos))
        for name, asked in zip(best.names, best.tasks, strict=True)
    }
    return {SYSTEM: best.system.signature.instructions, **texts}, models


class _Search:
    """MIPROv2 with everything but the number of trials, by which alone it ends.

    Programs come up again, and their answers are kept, so how many trials so many calls are is found by trying.
    """

    def __init__(
        self,
        world: World,
        tasks: Sequence[Task],
        *,
        minibatch: int,
        candidates: int,
        demos: tuple[int, int],
        proposed_on: int | None,
    ) -> None:
        self.examples = [_example(task, number) for task in tasks for number in range(len(task.train))]
        Random(world.seed).shuffle(self.examples)
        self._trainset = self.examples[:proposed_on]
        self.most_bootstrapped = min(len(self._trainset), 10 * max(*demos, 2))
        self._world, self._tasks, self._minibatch = world, tasks, minibatch
        self._candidates, self._demos = candidates, demos

    def run(self, valset: Sequence[Any], trials: int) -> tuple[Any, Models]:
        """The best program, and what it took."""
        models = Models(self._world)
        base, writer = (
            dspy.LM(name, engine=Engine(models, writes=name == "writer"), cache=False) for name in ("base", "writer")
        )
        program = Ask(DEFAULT_SYSTEM_PROMPT, {task.name: instruction_of(task.user_prompt) for task in self._tasks})
        optimizer = dspy.MIPROv2(
            metric=_metric,
            prompt_model=writer,
            task_model=base,
            auto=None,
            num_candidates=self._candidates,
            max_bootstrapped_demos=self._demos[0],
            max_labeled_demos=self._demos[1],
            num_threads=1,
            seed=self._world.seed,
        )
        quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with quiet[0], quiet[1], dspy.context(lm=base):
            best = optimizer.compile(
                program,
                trainset=self._trainset,
                valset=list(valset),
                num_trials=trials,
                minibatch_size=self._minibatch,
                minibatch_full_eval_steps=FULL_EVERY,
            )
        return best, models


def _trials(calls: int, batch: int, full: int) -> int:
    """How many minibatches fit, with a full validation after every fifth and at the end."""
    trials = 1
    while (trials + 1) * batch + -(-(trials + 1) // FULL_EVERY) * full <= calls:
        trials += 1
    return trials


def _example(task: Task, number: int) -> Any:  # noqa: ANN401 - DSPy's
    example = task.train[number]
    row = dspy.Example(task=task.name, question=example.question, answer=example.answers[0])
    return row.with_inputs("task", "question")


def _metric(example: Any, prediction: Any, trace: Any = None) -> float:  # noqa: ANN401 - DSPy's
    return float(FORMAT.parse(prediction.answer) == example.answer)


def _with_demos(instruction: str, demos: Sequence[Any]) -> str:
    shown = [f"{demo['question']}\n{demo['answer']}" for demo in demos]
    return "\n\n".join([instruction, *shown])
