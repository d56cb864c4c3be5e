"""Tasks: data, answer formats, metrics."""

from metaspo.engine.tasks.base import PLACEHOLDER, AnswerFormat, Example, Failure, Metric, Tally, Task, TaskRole
from metaspo.engine.tasks.errors import MetricError, TaskError
from metaspo.engine.tasks.formats import Integer, Label, Letter, Tagged, Text, build_format
from metaspo.engine.tasks.load import Notice, Notify, load_task, load_tasks
from metaspo.engine.tasks.metrics import (
    Accuracy,
    ExactMatch,
    MacroF1,
    TokenF1,
    UserMetric,
    build_metric,
    squad_normalize,
)
from metaspo.engine.tasks.numberwords import digits_for_words
from metaspo.engine.tasks.spec import METRIC_NAMES, AnswerSpec, Columns, DataSource, TaskSpec

__all__ = [
    "METRIC_NAMES",
    "PLACEHOLDER",
    "Accuracy",
    "AnswerFormat",
    "AnswerSpec",
    "Columns",
    "DataSource",
    "ExactMatch",
    "Example",
    "Failure",
    "Integer",
    "Label",
    "Letter",
    "MacroF1",
    "Metric",
    "MetricError",
    "Notice",
    "Notify",
    "Tagged",
    "Tally",
    "Task",
    "TaskError",
    "TaskRole",
    "TaskSpec",
    "Text",
    "TokenF1",
    "UserMetric",
    "build_format",
    "build_metric",
    "digits_for_words",
    "load_task",
    "load_tasks",
    "squad_normalize",
]
