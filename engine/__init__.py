"""The optimization: config, tasks, strategies, the two loops, journal and report."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.api import evaluate as evaluate
    from metaspo.engine.api import explain_example as explain_example
    from metaspo.engine.api import optimize_many as optimize_many
    from metaspo.engine.config.calls import Calls as Calls
    from metaspo.engine.config.calls import count_calls as count_calls
    from metaspo.engine.config.checks import check_optimizable as check_optimizable
    from metaspo.engine.config.load import load_config as load_config
    from metaspo.engine.config.plan import LanePlan as LanePlan
    from metaspo.engine.config.plan import Plan as Plan
    from metaspo.engine.config.plan import plan_run as plan_run
    from metaspo.engine.config.schema import RunConfig as RunConfig
    from metaspo.engine.errors import ConfigError as ConfigError
    from metaspo.engine.errors import PromptError as PromptError
    from metaspo.engine.errors import RunDirectoryError as RunDirectoryError
    from metaspo.engine.evaluation.test_score import TestScore as TestScore
    from metaspo.engine.journal.journal import read_journal as read_journal
    from metaspo.engine.journal.journal import selections as selections
    from metaspo.engine.optimize.result import EvaluationReport as EvaluationReport
    from metaspo.engine.optimize.result import Gain as Gain
    from metaspo.engine.optimize.result import RunReport as RunReport
    from metaspo.engine.optimize.result import RunResult as RunResult
    from metaspo.engine.prompts import PromptPair as PromptPair
    from metaspo.engine.runs.directory import RunDirectory as RunDirectory
    from metaspo.engine.runs.directory import find_run as find_run
    from metaspo.engine.runs.directory import find_runs as find_runs
    from metaspo.engine.runs.execute import open_for as open_for
    from metaspo.engine.runs.prepare import Prepared as Prepared
    from metaspo.engine.runs.prepare import prepare as prepare
    from metaspo.engine.runs.summary import report_data as report_data
    from metaspo.engine.runtime.observer import Observer as Observer
    from metaspo.engine.tasks import Example as Example
    from metaspo.engine.tasks import Grade as Grade
    from metaspo.engine.tasks import task as task
    from metaspo.engine.tasks.graders import Ungraded as Ungraded
    from metaspo.engine.tasks.programs import Call as Call
else:
    __getattr__, __dir__ = late_exports(__name__)
