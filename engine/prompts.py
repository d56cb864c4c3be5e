"""Prompts: the pair that is optimized, and how it becomes the messages of a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from metaspo.backends import Message
from metaspo.engine.tasks.base import PLACEHOLDER, single_braces
from metaspo.engine.tasks.named_prompts import NamedPrompts, PromptForm, read_named

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
        """The question within the user prompt, under the system prompt.

        Raises `PromptError` where the user prompt is several that the task names.
        """
        if named := _named(self.user):
            raise PromptError(
                f"the user prompt is several named ones ({', '.join(named.texts)}): use prompts.chat(NAME, …)"
            )
        return Message("system", self.system), Message("user", self.user.replace(PLACEHOLDER, question))

    def chat(self, name: str, /, **slots: str) -> tuple[Message, ...]:
        """A named prompt with a text for every place in it, under the system prompt. Raises `KeyError`."""
        return Message("system", self.system), Message("user", self.text(name, **slots))

    def text(self, name: str, /, **slots: str) -> str:
        """A named prompt with a text for every place in it. Raises `KeyError` for a name or a text that is missing."""
        return (_named(self.user) or NamedPrompts({})).filled(name, slots)

    @property
    def numbers(self) -> Mapping[str, int | float]:
        """The named numbers; none where the task names none."""
        named = _named(self.user)
        return named.numbers if named else {}


@lru_cache(maxsize=256)
def _named(user_prompt: str) -> NamedPrompts | None:
    """Read once, and not for every example."""
    return read_named(user_prompt)


def check_user_prompt(prompt: str, form: PromptForm | None = None) -> str:
    """Return the prompt, a placeholder in double braces as one in single braces.

    Raises `PromptError` unless it holds the placeholder exactly once, or is of the form, where there is one.
    """
    if form is not None:
        try:
            return form.checked(prompt)
        except ValueError as error:
            raise PromptError(str(error)) from None
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
    messages = (Message("system", pair.system), Message("user", pair.user.replace(PLACEHOLDER, question)))
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
