"""What commands do once their options are read; each is imported when it is done, so that help comes soon."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.actions.answers import show_answers
    from metaspo.actions.attention import compare_attention
    from metaspo.actions.cache import (
        explain_entry,
        prune_entries,
        read_snapshot,
        show_cache,
        verify_entries,
        write_snapshot,
    )
    from metaspo.actions.check import check_config
    from metaspo.actions.evaluate import evaluate_prompts
    from metaspo.actions.exchange import export_prompts, import_files
    from metaspo.actions.init import write_starter
    from metaspo.actions.judge import hold_judge
    from metaspo.actions.optimize import optimize_configs, run_demo
    from metaspo.actions.plan import plan_configs
    from metaspo.actions.report import write_page
    from metaspo.actions.runs import show_difference, show_run, show_runs
    from metaspo.actions.safety import compare_refusals
    from metaspo.actions.serve import serve_models
    from metaspo.actions.studies import (
        ablate_method,
        adapt_prompts,
        compare_methods,
        generalize_prompt,
        transfer_prompt,
    )
    from metaspo.actions.tasks import show_tasks, tell_whose_tasks
    from metaspo.actions.watch import watch_runs
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "ablate_method",
    "adapt_prompts",
    "check_config",
    "compare_attention",
    "compare_methods",
    "compare_refusals",
    "evaluate_prompts",
    "explain_entry",
    "export_prompts",
    "generalize_prompt",
    "hold_judge",
    "import_files",
    "optimize_configs",
    "plan_configs",
    "prune_entries",
    "read_snapshot",
    "run_demo",
    "serve_models",
    "show_answers",
    "show_cache",
    "show_difference",
    "show_run",
    "show_runs",
    "show_tasks",
    "tell_whose_tasks",
    "transfer_prompt",
    "verify_entries",
    "watch_runs",
    "write_page",
    "write_snapshot",
    "write_starter",
]
