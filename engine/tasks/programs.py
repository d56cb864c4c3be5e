"""Programs of a user's own: code that answers an example with any number of calls to the base model.

async def answer(prompts, example, call):
    notes = await call(f"What is to be known to answer this? {example.question}")
    return await call(prompts.messages(f"{notes.text}\n\n{example.question}"))
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Protocol

from metaspo.backends import Completion, Message
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.imports import import_object

Messages = str | Sequence[Message | Mapping[str, Any]]


class Call(Protocol):
    """Asks the base model, as the run does: cached, limited, within the budget.

    Whatever is left out is as in `[base]`. Equal calls of one example at a temperature above 0 are different samples,
    and the same ones when the run is started again.
    """

    async def __call__(
        self,
        messages: Messages,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: Sequence[str] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """The answer to messages, or to a text as one user message.

        In a program that is no coroutine function it returns the completion itself.

        Raises `RequestRejected` if the server will never answer; a program may catch that and go on.
        """
        ...


class ProgramError(TaskError):
    """A program that breaks its word: more calls than it may make, or an answer that is no text."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A program raised on an example: it counts as a malformed answer, and `reason` as what was wrong with it."""

    reason: str


@dataclass(frozen=True)
class Program:
    """A function that answers an example, given the prompts, the `Example` and a `Call`.

    It has to depend on these alone, or runs no longer replay.

    Attributes:
        name: its import path.
        function: returns text, or a completion of which the text counts; or is a coroutine function that does.
        max_calls: how many calls it may make for one example.
    """

    name: str
    function: Callable[..., object]
    max_calls: int

    @cached_property
    def is_async(self) -> bool:
        """Whether it is to be awaited; else it is called in a thread."""
        return iscoroutinefunction(self.function) or iscoroutinefunction(getattr(self.function, "__call__", None))  # noqa: B004 - its type is asked for


def build_program(name: str, *, max_calls: int, base_dir: Path) -> Program:
    """The program that a config names; a module is also looked for in `base_dir`. Raises `TaskError`."""
    function = import_object(name, base_dir=base_dir, key="program")
    if not callable(function):
        module, _, attribute = name.partition(":")
        raise TaskError(
            f"program: {module!r} has no function {attribute!r}; define it as async fn(prompts, example, call)"
        )
    return Program(name, function, max_calls)
