"""Which worked examples a prompt shows, drawn: of failures and of right answers as they were given."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from metaspo.engine.strategies.base import Level, TaskView
from metaspo.engine.strategies.worked_examples import WorkedExample, split_user
from metaspo.engine.tasks import Failure
from metaspo.engine.tasks.base import PLACEHOLDER, Example
from metaspo.engine.tasks.named_prompts import read_named

LONGEST_INPUT: Final = 400  # characters; a longer text would crowd out the prompt around it


def draw_for_system(tasks: Sequence[TaskView], *, size: int, show: int, rng: Random) -> tuple[WorkedExample, ...]:
    """Up to `size` failures of all tasks as they were asked: one of each task in a random order, then round again.

    Args:
        show: how many failures of each task may be drawn from.
    """
    pools = [_pool(task.failures, _asked(task), limit=show, rng=rng) for task in tasks]
    rng.shuffle(pools)
    return tuple(_in_turn(pools)[:size])


def draw_for_user(task: TaskView, *, size: int, rng: Random) -> tuple[WorkedExample, ...]:
    """Up to `size` failures of one task, the bare questions: the instruction stands beside them in the user prompt."""
    return tuple(_pool(task.failures, PLACEHOLDER, limit=size, rng=rng))


def draw_demonstrations(
    tasks: Sequence[TaskView], *, level: Level, right: int, size: int, rng: Random
) -> tuple[WorkedExample, ...]:
    """Up to `right` right answers as they were given, then right outcomes of other examples until there are `size`.

    Of all tasks in turn, in a random order; at level "system" as they were asked, else the bare questions.
    """
    given, labeled = [], []
    for task in rng.sample(tasks, len(tasks)):
        prompt = _asked(task) if level == "system" else PLACEHOLDER
        answers = [_worked(example, answer, prompt) for example, answer in task.right if len(answer) <= LONGEST_INPUT]
        outcomes = [_worked(example, example.answers[0], prompt) for example in task.train]
        given.append(_shuffled(answers, rng))
        labeled.append(_shuffled(outcomes, rng))
    demonstrations = _in_turn(given)[:right]
    questions = {example.question for example in demonstrations}
    rest = [example for example in _in_turn(labeled) if example.question not in questions]
    return tuple([*demonstrations, *rest][: max(size, len(demonstrations))])


def draw_right(task: TaskView, *, size: int, rng: Random) -> tuple[WorkedExample, ...]:
    """Up to `size` right answers as they were given, beside the bare questions; of equal questions one."""
    given = [_worked(example, answer, PLACEHOLDER) for example, answer in task.right if len(answer) <= LONGEST_INPUT]
    usable = list({example.question: example for example in given if example is not None}.values())
    return tuple(rng.sample(usable, min(size, len(usable))))


def _asked(task: TaskView) -> str:
    """What a question of a task stands in: the user prompt; nothing where a program names several."""
    return PLACEHOLDER if read_named(task.user_prompt) else split_user(task.user_prompt)[1]


def _pool(failures: Sequence[Failure], user_prompt: str, *, limit: int, rng: Random) -> list[WorkedExample]:
    examples = [_worked(failure.example, failure.example.answers[0], user_prompt) for failure in failures]
    usable = [example for example in examples if example is not None]
    return rng.sample(usable, min(limit, len(usable)))


def _in_turn(pools: Sequence[Sequence[WorkedExample]]) -> list[WorkedExample]:
    """One of each pool, then round again."""
    longest = max(map(len, pools), default=0)
    return [pool[position] for position in range(longest) for pool in pools if position < len(pool)]


def _shuffled(examples: Iterable[WorkedExample | None], rng: Random) -> list[WorkedExample]:
    usable = [example for example in examples if example is not None]
    return rng.sample(usable, len(usable))


def _worked(example: Example, answer: str, user_prompt: str) -> WorkedExample | None:
    """None if it is too long, empty, or would bring a second question placeholder into the prompt; nor is there one of
    what is more than a question: turns and images."""
    if example.history or example.images:
        return None
    question = " ".join(user_prompt.replace(PLACEHOLDER, example.question).split())
    answer = " ".join(answer.split())
    if not question or not answer or len(question) > LONGEST_INPUT or PLACEHOLDER in question + answer:
        return None
    return WorkedExample(question, answer)
