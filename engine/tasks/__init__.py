"""Tasks: data, answer formats, metrics."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.tasks.answer_spec import ANSWER_KINDS as ANSWER_KINDS
    from metaspo.engine.tasks.answer_spec import AnswerSpec as AnswerSpec
    from metaspo.engine.tasks.base import PLACEHOLDER as PLACEHOLDER
    from metaspo.engine.tasks.base import AnswerFormat as AnswerFormat
    from metaspo.engine.tasks.base import Comparing as Comparing
    from metaspo.engine.tasks.base import Example as Example
    from metaspo.engine.tasks.base import Failure as Failure
    from metaspo.engine.tasks.base import Grade as Grade
    from metaspo.engine.tasks.base import Metric as Metric
    from metaspo.engine.tasks.base import Tally as Tally
    from metaspo.engine.tasks.base import Task as Task
    from metaspo.engine.tasks.base import TaskRole as TaskRole
    from metaspo.engine.tasks.base import similarity_of as similarity_of
    from metaspo.engine.tasks.base import single_braces as single_braces
    from metaspo.engine.tasks.data_spec import Columns as Columns
    from metaspo.engine.tasks.data_spec import DataSource as DataSource
    from metaspo.engine.tasks.errors import FormatError as FormatError
    from metaspo.engine.tasks.errors import MetricError as MetricError
    from metaspo.engine.tasks.errors import TaskError as TaskError
    from metaspo.engine.tasks.examples import Reader as Reader
    from metaspo.engine.tasks.examples import read_once as read_once
    from metaspo.engine.tasks.formats import Code as Code
    from metaspo.engine.tasks.formats import Integer as Integer
    from metaspo.engine.tasks.formats import Json as Json
    from metaspo.engine.tasks.formats import Kind as Kind
    from metaspo.engine.tasks.formats import Label as Label
    from metaspo.engine.tasks.formats import Letter as Letter
    from metaspo.engine.tasks.formats import Math as Math
    from metaspo.engine.tasks.formats import Number as Number
    from metaspo.engine.tasks.formats import OrUnanswerable as OrUnanswerable
    from metaspo.engine.tasks.formats import Plugin as Plugin
    from metaspo.engine.tasks.formats import Tagged as Tagged
    from metaspo.engine.tasks.formats import Text as Text
    from metaspo.engine.tasks.formats import build_format as build_format
    from metaspo.engine.tasks.load import load_task as load_task
    from metaspo.engine.tasks.load import load_tasks as load_tasks
    from metaspo.engine.tasks.metric_spec import METRIC_NAMES as METRIC_NAMES
    from metaspo.engine.tasks.metrics import Accuracy as Accuracy
    from metaspo.engine.tasks.metrics import Agreement as Agreement
    from metaspo.engine.tasks.metrics import ExactMatch as ExactMatch
    from metaspo.engine.tasks.metrics import MacroF1 as MacroF1
    from metaspo.engine.tasks.metrics import TokenF1 as TokenF1
    from metaspo.engine.tasks.metrics import UserMetric as UserMetric
    from metaspo.engine.tasks.metrics import build_metric as build_metric
    from metaspo.engine.tasks.metrics import squad_normalize as squad_normalize
    from metaspo.engine.tasks.numberwords import digits_for_words as digits_for_words
    from metaspo.engine.tasks.sampling import Notice as Notice
    from metaspo.engine.tasks.sampling import Notify as Notify
    from metaspo.engine.tasks.spec import TaskSpec as TaskSpec
    from metaspo.engine.tasks.written import task as task
else:
    __getattr__, __dir__ = late_exports(__name__)
