"""Fills in the meta-prompts of `meta_prompts.toml` and reads what comes back."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal

from metaspo.backends import Message
from metaspo.engine.errors import PromptError
from metaspo.engine.prompts import check_system_prompt, check_user_prompt
from metaspo.engine.strategies.base import Malformed
from metaspo.engine.tasks import Failure
from metaspo.engine.tasks.base import PLACEHOLDER, Example

Level = Literal["user", "system"]
Section = Literal["user", "system", "blocks"]


@cache
def _texts() -> dict[str, dict[str, str]]:
    return tomllib.loads(files(__package__).joinpath("meta_prompts.toml").read_text(encoding="utf-8"))


def fill(section: Section, name: str, slots: Mapping[str, str]) -> str:
    """One text with its slots filled in. Raises `KeyError` for a missing slot."""
    return Template(_texts()[section][name]).substitute(slots).strip()


def meta_messages(level: Level, step: str, slots: Mapping[str, str]) -> tuple[Message, ...]:
    """The messages of one optimizer call: the prompt writer's role for this level, and the step's request."""
    return (Message("system", fill(level, "role", {})), Message("user", fill(level, step, slots)))


def failure_block(failure: Failure, *, system_prompt: str, user_prompt: str) -> str:
    """One wrong answer as the optimizer sees it: system, user, response, parsed prediction, label."""
    slots = {
        "system_prompt": system_prompt,
        "user_message": user_message_of(failure.example, user_prompt),
        "response": failure.response.strip(),
        "prediction": failure.prediction if failure.prediction is not None else "(not in the required form)",
        "answers": " or ".join(failure.example.answers),
    }
    slots["feedback"] = fill("blocks", "feedback", {"feedback": failure.feedback}) + "\n" if failure.feedback else ""
    return fill("blocks", "failure", slots)


def user_message_of(example: Example, user_prompt: str) -> str:
    """What was asked of an example under a user prompt, as text: after its turns, before its images."""
    text = user_prompt.replace(PLACEHOLDER, example.question)
    return replace(example, question=text).asked


def join_blocks(blocks: Sequence[str]) -> str:
    """Several blocks, one after the other."""
    return "\n\n".join(blocks)


def ending_with(request: str, messages: Sequence[Message]) -> list[Message]:
    """The messages with a request at their end."""
    *before, last = messages
    return [*before, replace(last, content=f"{last.content}\n\n{request}")]


def read_tag(text: str, tag: str) -> str:
    """What stands in the one `<tag>…</tag>` of an answer. Raises `Malformed` if it is missing, empty or repeated."""
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
    if len(contents) != 1:
        raise Malformed(f"expected <{tag}>…</{tag}> once, found it {len(contents)} times")
    inside = str(contents[0]).strip()
    if not inside or f"<{tag}>" in inside:
        raise Malformed(f"<{tag}> holds no usable text")
    return inside


def read_prompt(text: str, tag: str, *, level: Level) -> str:
    """The prompt in a tag. Raises `Malformed`, for a user prompt also without the placeholder exactly once."""
    return well_formed(read_tag(text, tag), level=level)


def well_formed(prompt: str, *, level: Level) -> str:
    """The prompt of an answer. Raises `Malformed` for one that no loop of that level could use."""
    try:
        return (check_user_prompt if level == "user" else check_system_prompt)(prompt)
    except PromptError as error:
        raise Malformed(str(error)) from error


def read_user_prompt(text: str) -> str:
    """The user prompt in an answer. Raises `Malformed`, also when the placeholder is not there exactly once."""
    return read_prompt(text, "user_prompt", level="user")


def read_system_prompt(text: str) -> str:
    """The system prompt in an answer. Raises `Malformed`."""
    return read_prompt(text, "system_prompt", level="system")


def read_analysis(text: str) -> str:
    """The analysis in an answer. Raises `Malformed`."""
    return read_tag(text, "analysis")
