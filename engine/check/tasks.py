"""One example of a task, asked, read and graded as a run does it."""

from collections.abc import Sequence
from dataclasses import dataclass

from metaspo.backends import Completion, Message
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.evaluation.answers import read_as
from metaspo.engine.evaluation.asking import Answered, Base, asking_of
from metaspo.engine.evaluation.grading import outcomes_of
from metaspo.engine.evaluation.scorecard import Outcome, Status
from metaspo.engine.prompts import PromptPair, render
from metaspo.engine.tasks import Example, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCheck:
    """A task with its first example under the first prompts.

    Attributes:
        messages: as they are sent; of a task with a program, as they would be without.
        prompt_tokens, completion_tokens: of the answer, 0 where they are not known.
        longest: characters of the longest prompt of both splits, prompt pair included.
        fault: why there is no answer, or no grade, in a sentence; "" if there is.
        advice: what the config should say.
    """

    task: str
    role: str
    train: int
    test: int
    messages: tuple[Message, ...]
    example: Example
    outcome: Outcome
    prompt_tokens: int = 0
    completion_tokens: int = 0
    longest: int = 0
    fault: str = ""
    advice: tuple[str, ...] = ()


async def check_task(task: Task, base: Base, config: RunConfig) -> TaskCheck:
    """Ask a task's first example, or take its answer from the cache. Raises `RunStopped`, `StoreError`."""
    pair, example = PromptPair(config.system_prompt, task.user_prompt), task.shown[0]
    asking = asking_of(base, pair, task, [example])
    recalled = await asking.recall()
    answer: Answered = recalled[0] if recalled else (await asking.ask([0], ()))[0]
    outcome = (await outcomes_of(base, task, [example], {0: answer}, priority=()))[0]
    usage = answer.usage if isinstance(answer, Completion) else None
    fault = outcome.feedback if outcome.broken else read_as(outcome) if outcome.status is Status.FAILED else ""
    messages = render(pair, example, roles=config.roles)
    prompt_characters = sum(len(message.content) for message in messages) - len(example.question)
    return TaskCheck(
        task=task.name,
        role=task.role,
        train=len(task.train),
        test=len(task.test),
        messages=messages,
        example=example,
        outcome=outcome,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        longest=prompt_characters + max(len(each.question) for each in (*task.train, *task.test)),
        fault=f"task {task.name}: {fault} ({example.where})" if fault else "",
        advice=_advice(task, answer, outcome, config),
    )


def _advice(task: Task, answer: Answered, outcome: Outcome, config: RunConfig) -> tuple[str, ...]:
    limit, key = task.max_tokens or config.base.max_tokens, "max_tokens" if task.max_tokens else "base.max_tokens"
    if outcome.status is Status.FAILED:
        return ()
    if isinstance(answer, Completion) and answer.only_thought:
        return (
            f"task {task.name}: {key} = {limit:,} is used up by thinking before the answer begins: raise it, "
            "or switch thinking off in base.extra",
        )
    if isinstance(answer, Completion) and answer.finish_reason == "length":
        read = (
            ", and read all the same: raise it if it was to say more"
            if outcome.status is Status.SCORED
            else ": raise it"
        )
        return (f"task {task.name}: the answer is cut off at {key} = {limit:,}{read}",)
    if outcome.status is Status.MALFORMED and not outcome.broken:
        return (_of_unreadable(task, config),)
    return ()


def _of_unreadable(task: Task, config: RunConfig) -> str:
    """To say how to answer, where the prompts do not say it as it is wanted; else what is left."""
    how = task.answer_format.describe()
    prompts = _in_one_line(config.system_prompt, task.user_prompt)
    if _in_one_line(how).rstrip(".") not in prompts:
        return f"task {task.name}: the answer cannot be read. The user prompt should say how to answer: {how}"
    return (
        f"task {task.name}: the answer cannot be read, although the prompts say how to answer: show an example of an "
        "answer in the user prompt, let `answer` take a looser form (docs/answers.md), or leave it to optimizing"
    )


def _in_one_line(*texts: str) -> str:
    return " ".join(" ".join(texts).lower().split())


def context_advice(checks: Sequence[TaskCheck], *, context: int | None, max_tokens: int) -> tuple[str, ...]:
    """Which tasks' longest prompts will not fit, by what the prompts that were sent came to in tokens."""
    if context is None:
        return ()
    chars = sum(len(message.content) for check in checks if check.prompt_tokens for message in check.messages)
    tokens = sum(check.prompt_tokens for check in checks)
    if not (chars and tokens):
        return ()
    need = {check.task: round(check.longest * tokens / chars) + max_tokens for check in checks}
    return tuple(
        f"task {name}: its longest prompt and base.max_tokens come to some {size:,} tokens, the server's context is "
        f"{context:,}: set max_question_chars, lower max_tokens, or raise the context"
        for name, size in need.items()
        if size > context
    )
