"""Prompts: the pair that is optimized, and how it becomes the messages of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metaspo.backends import Message
from metaspo.engine.tasks.base import PLACEHOLDER, single_braces

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."

Roles = Literal["separate", "merged"]


class PromptError(ValueError):
    """A prompt that cannot be used; `str()` says why."""


class WordingError(PromptError):
    """A prompt that could be used, and breaks what the config says every prompt must keep to."""


@dataclass(frozen=True, slots=True)
class PromptPair:
    """One system prompt and one user prompt: what a task's examples are answered under."""

    system: str
    user: str

    def messages(self, question: str) -> tuple[Message, ...]:
        """The question within the user prompt, under the system prompt."""
        return Message("system", self.system), Message("user", self.user.replace(PLACEHOLDER, question))


def check_user_prompt(prompt: str) -> str:
    """Return the prompt, a placeholder in double braces as one in single braces.

    Raises `PromptError` unless it holds the placeholder exactly once.
    """
    prompt = single_braces(prompt)
    count = prompt.count(PLACEHOLDER)
    if count != 1:
        raise PromptError(f"a user prompt must hold {PLACEHOLDER} exactly once, this one holds it {count} times")
    return prompt


def check_system_prompt(prompt: str) -> str:
    """Return the prompt. Raises `PromptError` if it is empty or holds the question placeholder."""
    if not prompt.strip():
        raise PromptError("a system prompt must not be empty")
    if PLACEHOLDER in single_braces(prompt):
        raise PromptError(f"a system prompt is the same for every question, so it must not hold {PLACEHOLDER}")
    return prompt


def render(pair: PromptPair, question: str, *, roles: Roles = "separate") -> tuple[Message, ...]:
    """The messages that put a question under a prompt pair.

    "separate" sends the system prompt in the system role; "merged" puts both into one user message, for models
    without a system role.
    """
    messages = pair.messages(question)
    return merged(messages) if roles == "merged" else messages


def merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without a system role: what stood in it begins the first message that follows it."""
    waiting: list[str] = []
    told: list[Message] = []
    for message in messages:
        waiting.append(message.content)
        if message.role != "system":
            told.append(Message(message.role, "\n\n".join(waiting)))
            waiting = []
    return (*told, Message("user", "\n\n".join(waiting))) if waiting else tuple(told)
