"""What `metaspo plan` prints: how much a run can need."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape

from metaspo.engine import Plan, RunConfig
from metaspo.engine.config.presets import CALLS
from metaspo.engine.config.schema import BudgetTable
from metaspo.engine.tasks import Notice
from metaspo.tables import Data, make_table

LONG = 7 * 24 * 60  # minutes


def plan_data(name: str, plan: Plan, notices: Iterable[Notice], *, caps: Sequence[str]) -> Data:
    """A plan as plain data, with what its data's owner should know, and which caps the command may come to."""
    return {
        "name": name,
        "calls": {
            "initial": plan.calls.initial,
            "inner": plan.calls.inner,
            "outer": plan.calls.outer,
            "test": plan.calls.test,
            "optimizer": plan.calls.optimizer,
            "judge": plan.calls.judge,
        },
        "lanes": {
            role: {
                "model": lane.model,
                "calls": lane.calls,
                "prompt_tokens": lane.prompt_tokens,
                "completion_tokens": lane.completion_tokens,
                "dollars": lane.dollars,
                "minutes": lane.minutes,
            }
            for role, lane in plan.lanes.items()
        },
        "paper": {"base": plan.paper.base, "optimizer": plan.paper.optimizer},
        "dollars": plan.dollars,
        "minutes": plan.minutes,
        "caps": list(caps),
        "notices": [asdict(notice) for notice in notices],
    }


def print_plan(out: Console, config: RunConfig, plan: Plan) -> None:
    """A plan as a table, and which caps of the config it may come to."""
    table = make_table(
        escape(f"{config.name}: at most"),
        "role",
        "model",
        "calls",
        "prompt tokens",
        "answer tokens",
        "dollars",
        "minutes",
    )
    for role, lane in plan.lanes.items():
        table.add_row(
            role,
            escape(lane.model),
            f"{lane.calls:,}",
            f"~{lane.prompt_tokens:,}",
            f"~{lane.completion_tokens:,}",
            _dollars(lane.dollars),
            f"~{lane.minutes:,.1f}",
        )
    out.print(table)
    for line in caps_reached(config.budget, [plan]):
        out.print(line, highlight=False, markup=False)
    calls = plan.calls
    out.print(
        f"Base calls: {calls.initial:,} first prompts, {calls.inner:,} inner loops, {calls.outer:,} outer loops, "
        f"{calls.test:,} test splits.{_grades(config, plan)}\n"
        "Calls are upper bounds, as if the cache were empty; tokens, dollars and minutes "
        "are estimates from the texts' lengths and the limits in the config.",
        highlight=False,
    )
    if plan.paper.base > plan.calls.base:
        out.print(
            f"In the paper's shape (3 iterations of 3 user and 9 system prompts on all rows, 3 kept) it would be "
            f"{plan.paper.base:,} base calls and {plan.paper.optimizer:,} optimizer calls.",
            highlight=False,
        )
    elif plan.calls.base - plan.calls.test > CALLS:
        out.print(
            f"With --calls {CALLS} it would be {CALLS:,} base calls and the test splits: docs/presets.md.",
            highlight=False,
        )


def _grades(config: RunConfig, plan: Plan) -> str:
    """How many calls go into grades, and whose."""
    calls = plan.calls.judge
    return f" Grades: {calls:,} of the {'judge' if config.judge else 'base model'}." if calls else ""


def endless(config: RunConfig, plan: Plan) -> str:
    """A warning of a run that may go on for longer than anybody waits, with no cap to stop it; "" for none."""
    if plan.minutes < LONG or config.budget != BudgetTable():
        return ""
    return (
        f"{config.name} may take {plan.calls.base:,} calls, some {plan.minutes / 1440:,.0f} days by the estimate of "
        "`metaspo plan`, and [budget] caps nothing"
    )


def caps_reached(budget: BudgetTable, plans: Sequence[Plan]) -> list[str]:
    """A sentence for each cap that is less than what the plans may take together; where a price is not known, dollars
    are not."""
    lanes = [lane for plan in plans for lane in plan.lanes.values()]
    calls = sum(lane.calls for lane in lanes)
    tokens = sum(lane.prompt_tokens + lane.completion_tokens for lane in lanes)
    dollars = sum(plan.dollars or 0.0 for plan in plans)
    needs = (
        ("calls", budget.calls, calls, f"{calls:,} calls"),
        ("tokens", budget.tokens, tokens, f"~{tokens:,} tokens"),
        ("dollars", budget.dollars, dollars, _dollars(dollars)),
    )
    return [
        f"[budget] {key} = {cap} is less than the {shown} that it may take: it may stop before its end."
        for key, cap, need, shown in needs
        if cap is not None and cap < need
    ]


def _dollars(amount: float | None) -> str:
    return "unknown (give prices)" if amount is None else f"~${amount:,.2f}"
