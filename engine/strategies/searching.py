"""What searches share: asks that may come to nothing, newborn prompts, ranking."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from metaspo.backends import Message
from metaspo.engine.strategies.base import Level, NoProposal, form_is_missing
from metaspo.engine.strategies.meta_prompts import failure_block, read_prompt
from metaspo.engine.strategies.search import SearchContext, Trial, WrongAnswer
from metaspo.engine.strategies.texts import META, text

T = TypeVar("T")

BOTH_LEVELS: frozenset[Level] = frozenset({"user", "system"})


def prompt_reader(context: SearchContext) -> Callable[[str], str]:
    """Reads a new prompt of the context's level out of an answer; the reader raises `Malformed`."""
    level = context.level
    return lambda answer: context.usable(read_prompt(answer, level=level))


def rule_slots(context: SearchContext, texts: str = META) -> dict[str, str]:
    """What a new prompt has to say of how an answer must look: a user prompt the task's own rule, a system prompt
    nothing, unless most wrong answers could not be read. `texts`: the strategy whose words these are."""
    if context.level == "user":
        return {"answer_rule": context.tasks[0].answer_rule}
    return {"form": text(texts, "system", "say_form" if form_is_missing(context.tasks) else "set_no_form", {})}


def case_block(case: WrongAnswer) -> str:
    """One wrong answer as the optimizer sees it."""
    return failure_block(case.failure, system_prompt=case.system_prompt, user_prompt=case.user_prompt)


async def ask_or_none(
    context: SearchContext, step: str, messages: Sequence[Message], parse: Callable[[str], T], /
) -> T | None:
    """What `context.ask` returns; None where it brings no proposal, so that one lost answer does not end a search."""
    try:
        return await context.ask(step, messages, parse)
    except NoProposal:
        return None


async def propose_and_score(
    context: SearchContext, address: str, step: str, messages: Sequence[Message]
) -> Trial | None:
    """Ask for a prompt at `place/step`, and score it at `place/score` as soon as it is there; None if either fails."""
    prompt = await ask_or_none(context, f"{address}/{step}", messages, prompt_reader(context))
    if prompt is None:
        return None
    trials = await context.score(f"{address}/score", [prompt])
    return trials[0] if trials else None


def ranked(trials: Iterable[Trial | None]) -> list[Trial]:
    """Best first, ties by position, every prompt once; what came to nothing is left out."""
    once: dict[str, Trial] = {}
    for trial in trials:
        if trial is not None:
            once.setdefault(trial.prompt, trial)
    return sorted(once.values(), key=lambda trial: -trial.score)


def new_prompts(context: SearchContext, prompts: Iterable[str]) -> list[str]:
    """The prompts that the loop does not have already, each once. Raises `NoProposal` if there is none."""
    there = {trial.prompt for trial in context.first}
    fresh = [prompt for prompt in dict.fromkeys(prompts) if prompt not in there]
    if not fresh:
        raise NoProposal("the search found no other prompt than those it started from")
    return fresh
