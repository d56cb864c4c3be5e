"""The optimization: config, tasks, strategies, the two loops, journal and report."""

from metaspo.engine.api import evaluate, explain_example, optimize, optimize_many
from metaspo.engine.checks import check_optimizable
from metaspo.engine.config import ConfigError, RunConfig
from metaspo.engine.config_file import load_config
from metaspo.engine.journal import read_journal, selections
from metaspo.engine.plan import Calls, LanePlan, Plan, count_calls, plan_run
from metaspo.engine.prepared import Prepared, prepare
from metaspo.engine.prompts import PromptError, PromptPair
from metaspo.engine.result import EvaluationReport, Gain, RunReport, RunResult, TestScore
from metaspo.engine.run_directory import RunDirectory, RunDirectoryError, find_run, find_runs
from metaspo.engine.running import open_for
from metaspo.engine.summary import report_data
from metaspo.engine.watcher import Watcher

__all__ = [
    "Calls",
    "ConfigError",
    "EvaluationReport",
    "Gain",
    "LanePlan",
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
    "Watcher",
    "check_optimizable",
    "count_calls",
    "evaluate",
    "explain_example",
    "find_run",
    "find_runs",
    "load_config",
    "open_for",
    "optimize",
    "optimize_many",
    "plan_run",
    "prepare",
    "read_journal",
    "report_data",
    "selections",
]
