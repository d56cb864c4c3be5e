"""What can be wrong with a task: the user's data or config, and a user's own metric."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class TaskError(ValueError):
    """The config or the data of a task is wrong; `str()` is one line: file and line or key, what, what to do."""


class MetricError(ValueError):
    """A user's own metric failed, or returned something that is not a score; `str()` names it and says what, and of a
    run or an evaluation which task and row it was."""


class FormatError(MetricError):
    """A user's own answer format failed, or returned something that is no answer; `str()` says the same of it."""


def in_row(task: str, where: str, code: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """What the code returns. Its `MetricError` names the task and the row, and comes from what it came from; one of a
    program's own kind stays as it is: who knows what that is made of."""
    try:
        return code(*arguments)
    except MetricError as error:
        if type(error) not in (MetricError, FormatError):
            raise
        told = ": ".join(filter(None, (f"task {task!r}", where, str(error))))
        raise type(error)(told) from error.__cause__
