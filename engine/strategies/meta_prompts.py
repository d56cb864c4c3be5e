"""What meta-prompts show of wrong answers, and how what comes back is read."""

import re
from collections.abc import Sequence
from dataclasses import replace

from metaspo.backends import Message
from metaspo.engine.errors import PromptError
from metaspo.engine.prompts import check_system_prompt, check_user_prompt
from metaspo.engine.strategies.base import Level, Malformed
from metaspo.engine.strategies.texts import META, text
from metaspo.engine.tasks import Failure
from metaspo.engine.tasks.base import PLACEHOLDER, Example


def failure_block(failure: Failure, *, system_prompt: str, user_prompt: str) -> str:
    """One wrong answer as the optimizer sees it: system, user, response, parsed prediction, label."""
    slots = {
        "system_prompt": system_prompt,
        "user_message": user_message_of(failure.example, user_prompt),
        "response": failure.response.strip(),
        "prediction": failure.prediction if failure.prediction is not None else "(not in the required form)",
        "answers": " or ".join(failure.example.answers),
    }
    feedback = failure.feedback
    slots["feedback"] = text(META, "blocks", "feedback", {"feedback": feedback}) + "\n" if feedback else ""
    return text(META, "blocks", "failure", slots)


def user_message_of(example: Example, user_prompt: str) -> str:
    """What was asked of an example under a user prompt, as text: after its turns, before its images."""
    return replace(example, question=user_prompt.replace(PLACEHOLDER, example.question)).asked


def join_blocks(blocks: Sequence[str]) -> str:
    """Several blocks, one after the other."""
    return "\n\n".join(blocks)


def ending_with(request: str, messages: Sequence[Message]) -> list[Message]:
    """The messages with a request at their end."""
    *before, last = messages
    return [*before, replace(last, content=f"{last.content}\n\n{request}")]


def read_tag(answer: str, tag: str) -> str:
    """What stands in the one `<tag>…</tag>` of an answer. Raises `Malformed` if it is missing, empty or repeated."""
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", answer, flags=re.DOTALL)
    if len(contents) != 1:
        raise Malformed(f"expected <{tag}>…</{tag}> once, found it {len(contents)} times")
    inside = str(contents[0]).strip()
    if not inside or f"<{tag}>" in inside:
        raise Malformed(f"<{tag}> holds no usable text")
    return inside


def read_prompt(answer: str, *, level: Level, tag: str = "") -> str:
    """The prompt in a tag, that of its level if none is named.

    Raises `Malformed`, for a user prompt also without the placeholder exactly once.
    """
    return well_formed(read_tag(answer, tag or f"{level}_prompt"), level=level)


def well_formed(prompt: str, *, level: Level) -> str:
    """The prompt of an answer. Raises `Malformed` for one that no loop of that level could use."""
    try:
        return (check_user_prompt if level == "user" else check_system_prompt)(prompt)
    except PromptError as error:
        raise Malformed(str(error)) from error


def read_analysis(answer: str) -> str:
    """The analysis in an answer. Raises `Malformed`."""
    return read_tag(answer, "analysis")
