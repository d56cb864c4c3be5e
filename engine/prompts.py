"""Prompts: the pair that is optimized, and how it becomes the messages of a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import orjson

from metaspo.backends import Message, json_text
from metaspo.engine.errors import PromptError
from metaspo.engine.tasks.base import PLACEHOLDER, Example, single_braces
from metaspo.engine.tasks.images import with_images
from metaspo.engine.tasks.named_prompts import NamedPrompts, PromptForm, read_named

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."

Roles = Literal["separate", "merged"]


@dataclass(frozen=True, slots=True)
class PromptPair:
    """One system prompt and one user prompt: what a task's examples are answered under."""

    system: str
    user: str

    def messages(self, asked: str | Example) -> tuple[Message, ...]:
        """The question within the user prompt, under the system prompt; of an example with its turns and images.

        Raises `PromptError` where the user prompt is several that the task names.
        """
        if named := _named(self.user):
            raise PromptError(
                f"the user prompt is several named ones ({', '.join(named.texts)}): use prompts.chat(NAME, …)"
            )
        return render(self, asked)

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
    _require_encodable(prompt)
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
    _require_encodable(prompt)
    if not prompt.strip():
        raise PromptError("a system prompt must not be empty")
    if PLACEHOLDER in single_braces(prompt):
        raise PromptError(f"a system prompt is the same for every question, so it must not hold {PLACEHOLDER}")
    return prompt


def _require_encodable(prompt: str) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise PromptError("a prompt must not hold half of a surrogate pair, which is no text") from None


def render(pair: PromptPair, asked: str | Example, *, roles: Roles = "separate") -> tuple[Message, ...]:
    """The messages that put a question, or an example with all that goes with it, under a prompt pair.

    "separate" sends the system prompt in the system role; "merged" puts both into one user message, for models
    without a system role.
    """
    example = Example(asked, ()) if isinstance(asked, str) else asked
    text = pair.user.replace(PLACEHOLDER, example.question)
    messages = (_system_message(pair.system), *example.history, with_images(text, example.images))
    return merged(messages) if roles == "merged" else messages


@lru_cache(maxsize=64)
def _system_message(prompt: str) -> Message:
    """One for all examples of a split."""
    return Message("system", prompt)


def merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without a system role: what stood in it begins the next message of the user."""
    waiting: list[str] = []
    told: list[Message] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif waiting and message.role != "user":
            told += [Message("user", "\n\n".join(waiting)), message]
            waiting = []
        else:
            told.append(_beginning(waiting, message))
            waiting = []
    return (*told, Message("user", "\n\n".join(waiting))) if waiting else tuple(told)


def _beginning(above: Sequence[str], message: Message) -> Message:
    """A message with texts at its beginning."""
    if not above:
        return message
    text = "\n\n".join([*above, message.content])
    extra = orjson.loads(message.extra) if message.extra else {}
    if isinstance(parts := extra.get("content"), list):
        others = [part for part in parts if part.get("type") != "text"]
        extra["content"] = [{"type": "text", "text": text}, *others]
    return replace(message, content=text, extra=json_text(extra) if extra else "")
