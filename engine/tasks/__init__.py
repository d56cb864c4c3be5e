"""Tasks: data, answer formats, metrics."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.tasks.answer_spec import AnswerSpec
    from metaspo.engine.tasks.base import (
        PLACEHOLDER,
        AnswerFormat,
        Comparing,
        Example,
        Failure,
        Grade,
        Metric,
        Task,
        TaskRole,
        similarity_of,
    )
    from metaspo.engine.tasks.data_spec import Columns, DataSource
    from metaspo.engine.tasks.errors import FormatError, MetricError, TaskError
    from metaspo.engine.tasks.examples import Reader, read_once
    from metaspo.engine.tasks.formats import (
        Code,
        Integer,
        Json,
        Label,
        Letter,
        Math,
        Number,
        OrUnanswerable,
        Plugin,
        Tagged,
        Text,
        build_format,
    )
    from metaspo.engine.tasks.load import load_task, load_tasks
    from metaspo.engine.tasks.metrics import (
        Accuracy,
        Agreement,
        ExactMatch,
        MacroF1,
        TokenF1,
        UserMetric,
        build_metric,
        squad_normalize,
    )
    from metaspo.engine.tasks.notices import Notice
    from metaspo.engine.tasks.numberwords import digits_for_words
    from metaspo.engine.tasks.spec import TaskSpec
    from metaspo.engine.tasks.written import task
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "PLACEHOLDER",
    "Accuracy",
    "Agreement",
    "AnswerFormat",
    "AnswerSpec",
    "Code",
    "Columns",
    "Comparing",
    "DataSource",
    "ExactMatch",
    "Example",
    "Failure",
    "FormatError",
    "Grade",
    "Integer",
    "Json",
    "Label",
    "Letter",
    "MacroF1",
    "Math",
    "Metric",
    "MetricError",
    "Notice",
    "Number",
    "OrUnanswerable",
    "Plugin",
    "Reader",
    "Tagged",
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
    "read_once",
    "similarity_of",
    "squad_normalize",
    "task",
]
