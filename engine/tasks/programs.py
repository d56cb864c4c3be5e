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
from typing import Any, ClassVar, Protocol

from metaspo.backends import Completion, Message
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.imports import import_object

Messages = str | Sequence[Message | Mapping[str, Any]]


class Call(Protocol):
    """Asks the base model, or in a grader the judge, as the run does: cached, limited, within the budget.

    Whatever is left out is as in its table. Equal calls of one example at a temperature above 0 are different samples,
    and the same ones when the run is started again.
    """

    async def __call__(
        self,
        messages: Messages,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """The answer to messages, or to a text as one user message.

        In a function that is no coroutine function it returns the completion itself.

        Raises `RequestRejected` if the server will never answer; that may be caught. Raises `ValueError` for what no
        server can be asked.
        """
        ...


class ProgramError(TaskError):
    """Code that breaks its word: more calls than it may make, or an answer of a program that is no text."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A program raised on an example: it counts as a malformed answer, and `reason` as what was wrong with it."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class CallingCode:
    """A function of a user's own that is given a `Call`, last.

    It has to depend on what it is given alone, or runs no longer replay.

    Attributes:
        name: its import path.
        function: a coroutine function, or one that is called in a thread.
        max_calls: how many calls it may make for one example.
    """

    what: ClassVar[str]
    key: ClassVar[str]  # of a task, that says how many calls it may make

    name: str
    function: Callable[..., object]
    max_calls: int

    @cached_property
    def is_async(self) -> bool:
        """Whether it is to be awaited; else it is called in a thread."""
        return is_coroutine_function(self.function)


@dataclass(frozen=True, kw_only=True)
class Program(CallingCode):
    """A function that answers an example, given the prompts, the `Example` and a `Call`.

    It returns text, or a completion of which the text counts.
    """

    what: ClassVar[str] = "program"
    key: ClassVar[str] = "max_calls"


def is_coroutine_function(function: Callable[..., object]) -> bool:
    """Whether what it returns is to be awaited."""
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - its type is asked for


def build_program(name: str, *, max_calls: int, base_dir: Path) -> Program:
    """The program that a config names; a module is also looked for in `base_dir`. Raises `TaskError`."""
    function = import_object(name, base_dir=base_dir, key="program")
    if not callable(function):
        module, _, attribute = name.partition(":")
        raise TaskError(
            f"program: {module!r} has no function {attribute!r}; define it as async fn(prompts, example, call)"
        )
    return Program(name=name, function=function, max_calls=max_calls)
