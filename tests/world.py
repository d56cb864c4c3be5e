"""A small world with known answers: tasks, and what base and optimizer model say to any request.

Every answer is a function of the request alone. The base model is right more often the more of a task's skill words its
prompts hold; the optimizer writes prompts that hold skill words drawn by its messages and draw index, and now and then
something malformed.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from metaspo.backends import Completion, Message, Request
from metaspo.backends.base import Role
from metaspo.engine import RunConfig
from metaspo.engine.prompts import PromptPair
from metaspo.engine.tasks import Example, Grade, Metric, Task, TaskRole
from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.formats import build_format
from metaspo.engine.tasks.graders import Grader
from metaspo.engine.tasks.images import Image
from metaspo.engine.tasks.judges import judge_grader
from metaspo.engine.tasks.load import grading_of
from metaspo.engine.tasks.metric_spec import MetricTable
from metaspo.engine.tasks.metrics import build_metric
from metaspo.engine.tasks.named_prompts import NumberRange, PromptForm
from metaspo.engine.tasks.programs import Call, Program

SKILLS = ("careful", "brief", "literal", "patient", "exact", "curious")


def fraction(*parts: str) -> float:
    """A number in [0, 1) that depends on the texts alone."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True, slots=True)
class World:
    """Answers of all models.

    Attributes:
        malformed: the share of malformed optimizer answers.
        firm: whether the judge makes up its mind when it is asked for the third time.
    """

    seed: int
    malformed: float = 0.15
    firm: bool = False

    def answer(self, request: Request) -> str:
        """What the model named in the request says."""
        who = {"writer": self.optimizer, "judge": self.judge}.get(request.model, self.base)
        return who(request)

    def base(self, request: Request) -> str:
        """`yes` or `no`; sometimes neither, which is malformed."""
        text = "\n".join(message.content + message.extra for message in request.messages)
        number = int(re.findall(r"number (\d+)", text)[-1])
        skilled = sum(skill in text for skill in SKILLS) / len(SKILLS)
        luck = fraction(str(self.seed), "base", text)
        if luck > 0.97:
            return "I would rather not say."
        right = luck < 0.35 + 0.5 * skilled
        return "yes" if (number % 2 == 0) == right else "no"

    def optimizer(self, request: Request) -> str:
        """An analysis or a prompt, in tags."""
        text = "\n".join(message.content for message in request.messages)
        rng = Random(fraction(str(self.seed), "optimizer", text, str(request.draw)))
        if rng.random() < self.malformed:
            return "Let me think about that."
        skills = " ".join(rng.sample(SKILLS, rng.randint(1, 4)))
        if "between <analysis> and </analysis>" in text:
            return f"<analysis>It should be more {skills}.</analysis>"
        if "between <user_prompt> and </user_prompt>" in text:
            places = "".join(f"{place}, " for place in re.findall(r"must hold (\{\w+\}), each exactly once", text))
            return f"<user_prompt>Be {skills}. {places}Is {{question}} even?</user_prompt>"
        return f"<system_prompt>You are {skills}.</system_prompt>"

    def judge(self, request: Request) -> str:
        """A verdict that is mostly right, and now and then none; what is no question for one, an opinion."""
        text = request.messages[0].content
        if "<question>" not in text:
            return "yes" if fraction(str(self.seed), "opinion", text, str(request.draw)) < 0.5 else "no"
        luck = fraction(str(self.seed), "judge", *(each.content for each in request.messages), str(request.draw))
        asked = (len(request.messages) + 1) // 2
        if luck > 0.85 and not (self.firm and asked == 3):
            return "That is hard to say."
        number = int(re.findall(r"number (\d+)", text)[-1])
        right = "yes" if number % 2 == 0 else "no"
        said = re.findall(r"<(answer\w*)>\n(.*?)\n</\1>", text, re.DOTALL)
        if len(said) == 2:
            points = [answer == right for _, answer in said]
            better = "tie" if points[0] == points[1] or luck < 0.1 else "A" if points[0] else "B"
            return f'{{"reasons": "parity of {number}", "better": "{better}"}}'
        whole = re.search(r"from 1 \(the worst\) to (\d+)", text)
        words = re.findall(r"one of (.*?), from the worst", text)
        best = whole[1] if whole else f'"{words[0].split(", ")[-1]}"'
        score = best if said[0][1] == right and luck < 0.6 else "4" if whole else '"fair"'
        return f'{{"reasons": "parity of {number}", "score": {score}}}'


async def look_twice(prompts: PromptPair, example: Example, call: Call) -> Completion | str:
    """A program: notes on a question first, then the question with them; a third look where the second says nothing."""
    notes = await call(f"What of {example.question}? {prompts.system}")
    answer = await call(prompts.messages(f"{notes.text}, {example.question}"))
    return answer if answer.text in ("yes", "no") else (await call(f"{prompts.user}, {example.question}")).text


LOOK_TWICE = Program(name="world:look_twice", function=look_twice, max_calls=3)


async def two_prompts(prompts: PromptPair, example: Example, call: Call) -> Completion:
    """A program of two named prompts, one of them with no question in it, and two numbers."""
    rules = await call(f"{prompts.text('rules')} {example.question}", temperature=prompts.numbers["heat"])
    return await call(prompts.chat("answer", notes=f"{rules.text} {prompts.numbers['k']}", question=example.question))


TWO_PROMPTS = Program(name="world:two_prompts", function=two_prompts, max_calls=2)


def with_prompts(task: Task, *, together: bool = False) -> Task:
    """The same, answered by the program of two prompts and two numbers."""
    texts = {"rules": "Think of halves.", "answer": "{notes}, so is {question} even?"}
    form, first = PromptForm.of(texts, {"k": (3, 1, 2), "heat": NumberRange(low=0.0, high=1.0)}, together=together)
    return replace(task, program=TWO_PROMPTS, form=form, user_prompt=first)


def make_task(name: str, *, role: TaskRole = "source", train: int = 6, test: int = 4, weight: float = 1.0) -> Task:
    """A task that asks whether numbers are even."""
    spec = AnswerSpec(kind="label", labels=("yes", "no"))
    answer_format = build_format(spec)

    def split(kind: str, size: int) -> tuple[Example, ...]:
        return tuple(
            Example(f"{name} {kind} number {n}", ("yes" if n % 2 == 0 else "no",), f"{name}.{kind}:{n + 1}")
            for n in range(size)
        )

    return Task(
        name=name,
        role=role,
        train=split("train", train),
        test=split("test", test),
        answer_format=answer_format,
        metric=build_metric("accuracy", base_dir=Path()),
        user_prompt=f"About {name}: is {{question}} even?",
        weight=weight,
        grading=grading_of(spec),
    )


def with_more(task: Task, rng: Random) -> Task:
    """The same, some of its examples with turns before the question, and with images."""

    def more(example: Example) -> Example:
        said = (f"Now number {rng.randrange(99)}.", "I see.", "And then?", "Well.")
        roles: tuple[Role, ...] = rng.choice((("user", "assistant"), ("assistant", "user")))
        turns = tuple(
            Message(roles[at % 2], rng.choice(said), rng.choice(("", "", '{"name":"ann"}')))
            for at in range(rng.choice((0, 0, 1, 2, 3)))
        )
        images = tuple(
            Image(f"{shown}.png", Path(f"{shown}.png"), "image/png", b64encode(shown.encode()).decode())
            for shown in rng.sample(("cat", "dog", "cow"), rng.choice((0, 0, 1, 2)))
        )
        return replace(example, history=turns, images=images)

    return replace(task, train=tuple(map(more, task.train)), test=tuple(map(more, task.test)))


DOUBT = "world:doubt"


async def doubt(answer: str | None, example: Example, call: Call) -> Grade:
    """A grader: two opinions, which are draws, and a third on these; a malformed answer is worth a little."""
    if answer is None:
        return Grade(0.125, "there is no answer")
    asked = f"Is number {example.question.split()[-1]} even?"
    said = [(await call(f"{asked} Somebody says {answer}.", temperature=1.0)).text for _ in range(2)]
    said.append((await call(f"{asked} {' and '.join(said)}?", max_tokens=4)).text)
    return Grade(said.count(answer) / 4 + (answer in example.answers) / 4, f"others say {' and '.join(said)}")


def doubted(task: Task) -> Task:
    """The same, graded by a grader of its own, which asks the judge's model, or the base model."""
    return replace(task, metric=Grader(name=DOUBT, function=doubt, max_calls=3))


JUDGE = {"model": "judge", "endpoints": ["http://127.0.0.1:1/v1"]}


def judged(task: Task, **settings: object) -> Task:
    """The same, graded by a judge; settings as in a `MetricTable`."""
    table = MetricTable.model_validate({"judge": "It should be right.", **settings})
    return replace(task, metric=judge_grader(table, base_dir=Path()))


def score_of(metric: Metric, prediction: str | None, answers: tuple[str, ...]) -> float:
    """What a metric gives one answer to an example of which the accepted answers are all that matters."""
    return metric.grade(prediction, Example("", answers)).score


def split_score(metric: Metric, answered: Sequence[tuple[str | None, tuple[str, ...]]]) -> float:
    """What a metric makes of a split: each example's prediction beside its accepted answers."""
    tally = metric.tally([answers for _, answers in answered])
    for prediction, answers in answered:
        tally.add(prediction, answers, score_of(metric, prediction, answers))
    return tally.bound


def make_config(changes: dict[str, Any] | None = None) -> RunConfig:
    """A config for the world, kept in memory; its `[[tasks]]` are a placeholder for tasks made by `make_task`."""
    raw: dict[str, Any] = {
        "name": "world",
        "seed": 7,
        "iterations": 2,
        "cache": "",
        "runs": "",
        "base": {"model": "answerer", "endpoints": ["http://127.0.0.1:1/v1"], "max_tokens": 8},
        "optimizer": {"model": "writer", "endpoints": ["http://127.0.0.1:1/v1"]},
        "inner": {"candidates": 2, "keep": 2},
        "outer": {"candidates": 3},
        "tasks": [{"name": "a", "role": "source", "train": "a.jsonl", "user_prompt": "{question}"}],
    }
    return RunConfig.model_validate({**raw, **(changes or {})})
