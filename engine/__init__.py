"""The optimization: config, tasks, strategies, the two loops, journal and report."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.api import evaluate, explain_example, optimize_many
    from metaspo.engine.config.calls import Calls, count_calls
    from metaspo.engine.config.checks import check_optimizable
    from metaspo.engine.config.load import load_config
    from metaspo.engine.config.plan import Plan, plan_run
    from metaspo.engine.config.schema import RunConfig
    from metaspo.engine.errors import ConfigError, PromptError, RunDirectoryError
    from metaspo.engine.evaluation.test_score import TestScore
    from metaspo.engine.journal.journal import read_journal, selections
    from metaspo.engine.optimize.result import EvaluationReport, Gain, RunReport, RunResult
    from metaspo.engine.prompts import PromptPair
    from metaspo.engine.runs.directory import RunDirectory, find_run, find_runs
    from metaspo.engine.runs.prepare import Prepared, prepare
    from metaspo.engine.runs.summary import report_data
    from metaspo.engine.runtime.observer import Observer
    from metaspo.engine.tasks import Example, Grade, task
    from metaspo.engine.tasks.graders import Ungraded
    from metaspo.engine.tasks.programs import Call
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "Call",
    "Calls",
    "ConfigError",
    "EvaluationReport",
    "Example",
    "Gain",
    "Grade",
    "Observer",
    "Plan",
    "Prepared",
    "PromptError",
    "PromptPair",
    "RunConfig",
    "RunDirectory",
    "RunDirectoryError",
    "RunReport",
    "RunResult",
    "TestScore",
    "Ungraded",
    "check_optimizable",
    "count_calls",
    "evaluate",
    "explain_example",
    "find_run",
    "find_runs",
    "load_config",
    "optimize_many",
    "plan_run",
    "prepare",
    "read_journal",
    "report_data",
    "selections",
    "task",
]
