"""TextGrad's own package in the known-truth worlds. Imported only where it is installed.

The loop is that of its authors' prompt optimization: the system prompt and the tasks' prompts are variables, a batch's
losses are summed, a step is taken back if validation gets worse.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from random import Random
from typing import Any

import textgrad
from textgrad.autograd.llm_ops import FormattedLLMCall
from textgrad.autograd.string_based_ops import StringBasedFunction

from metaspo.bench.known_truth.peer_models import SYSTEM, Models, as_user_prompt, chat, instruction_of
from metaspo.bench.known_truth.peer_writer import SHARED, PeerWriter
from metaspo.bench.known_truth.world import FORMAT, SOURCES, World
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT, PromptPair
from metaspo.engine.tasks import Example, Task

PURPOSE = "Whether the prediction is right."
Row = tuple[str, Example]


class Engine(textgrad.EngineLM):  # type: ignore[misc, unused-ignore] # TextGrad is not installed where the types are checked
    """One of the world's models."""

    def __init__(self, models: Models, *, writes: bool) -> None:
        """`writes`: the optimizer model, else the base model."""
        self.model_string = "writer" if writes else "base"
        self._models, self._writes = models, writes

    def generate(self, prompt: str, system_prompt: str | None = None) -> str:
        """An answer."""
        messages = chat(system_prompt or self.system_prompt, prompt)
        if not self._writes:
            return self._models.answer(messages)
        return self._models.wrote(messages, PeerWriter(self._models.world).to_textgrad(prompt))

    def __call__(self, prompt: str, system_prompt: str | None = None) -> str:
        """As `generate`."""
        return self.generate(prompt, system_prompt=system_prompt)


def optimize(
    world: World, tasks: Sequence[Task], calls: int, *, minibatch: int, rows: int | None = None
) -> tuple[dict[str, str], Models]:
    """The last prompts that were not taken back within so many calls, and what they took.

    Args:
        rows: of each task that steps are validated on; as many as metaspo+ looks at if None.
    """
    rows = rows or isqrt(calls // len(SOURCES))
    models = Models(world)
    system = textgrad.Variable(DEFAULT_SYSTEM_PROMPT, requires_grad=True, role_description=SHARED)
    prompts = {
        task.name: textgrad.Variable(
            instruction_of(task.user_prompt), requires_grad=True, role_description=f"prompt of the {task.name}"
        )
        for task in tasks
    }
    forward, backward = Engine(models, writes=False), Engine(models, writes=True)
    validation = [(task.name, example) for task in tasks for example in task.train[:rows]]
    train = [(task.name, example) for task in tasks for example in task.train]
    rng = Random(world.seed)
    best = _right(models, system, prompts, validation)
    while models.base + minibatch + len(validation) <= calls:
        batch = rng.sample(train, minibatch)
        touched = [system, *(prompts[name] for name in dict.fromkeys(name for name, _ in batch))]
        before = [variable.value for variable in touched]
        optimizer = textgrad.TGD(parameters=touched, engine=backward)
        optimizer.zero_grad()
        textgrad.sum([_loss(forward, system, prompts[name], example) for name, example in batch]).backward(backward)
        optimizer.step()
        score = _right(models, system, prompts, validation)
        if score < best:
            for variable, value in zip(touched, before, strict=True):
                variable.set_value(value)
        best = max(best, score)
    texts = {name: as_user_prompt(variable.value) for name, variable in prompts.items()}
    return {SYSTEM: system.value, **texts}, models


def _loss(engine: Engine, system: Any, prompt: Any, example: Example) -> Any:  # noqa: ANN401 - TextGrad's
    """Whether an answer is right, as a variable."""

    def judge(prediction: Any, truth: Any) -> str:  # noqa: ANN401 - TextGrad's
        return str(int(FORMAT.parse(prediction.value) == truth.value))

    question = _given(example.question, "question")
    fields = {"instruction": prompt, "question": question}
    call = FormattedLLMCall(
        engine, "{instruction}\n\n{question}", fields=dict.fromkeys(fields, ""), system_prompt=system
    )
    answer = call(inputs=fields, response_role_description="answer to the question")
    truth = _given(example.answers[0], "right answer")
    return StringBasedFunction(judge, PURPOSE)(
        inputs={"prediction": answer, "truth": truth}, response_role_description="1 if the answer is right, else 0"
    )


def _given(value: str, role: str) -> Any:  # noqa: ANN401 - TextGrad's
    return textgrad.Variable(value, requires_grad=False, role_description=role)


def _right(models: Models, system: Any, prompts: Mapping[str, Any], rows: Sequence[Row]) -> int:  # noqa: ANN401 - TextGrad's
    return sum(
        models.right(PromptPair(system.value, as_user_prompt(prompts[name].value)), example) for name, example in rows
    )
