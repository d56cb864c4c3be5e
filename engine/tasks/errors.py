"""What can be wrong with a task: the user's data or config, and a user's own metric."""


class TaskError(ValueError):
    """The config or the data of a task is wrong; `str()` is one line: file and line or key, what, what to do."""


class MetricError(ValueError):
    """A user's own metric failed, or returned something that is not a score; `str()` names it and says what, and of a
    run or an evaluation which task and row it was."""


class FormatError(MetricError):
    """A user's own answer format failed, or returned something that is no answer; `str()` says the same of it."""


def of_row(error: MetricError, *, task: str, where: str) -> MetricError:
    """The same error, naming its task and row; to be raised from what the first one was raised from. One of a program's
    own kind stays as it is: who knows what that is made of."""
    if type(error) not in (MetricError, FormatError):
        return error
    return type(error)(": ".join(filter(None, (f"task {task!r}", where, str(error)))))
