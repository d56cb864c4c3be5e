"""What can be wrong with a task: the user's data or config, and a user's own metric."""


class TaskError(ValueError):
    """The config or the data of a task is wrong; `str()` is one line: file and line or key, what, what to do."""


class MetricError(ValueError):
    """A user's own metric returned something that is not a score; `str()` names it and what it returned."""


class FormatError(MetricError):
    """A user's own answer format failed, or returned something that is no answer; `str()` names it and says what."""
