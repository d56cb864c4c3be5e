"""What `metaspo plan` prints: how much a run can need."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from metaspo.backends.counted import counted
from metaspo.engine import Plan, RunConfig
from metaspo.engine.config.plan import AUTO_CONCURRENCY, Pace
from metaspo.engine.config.presets import CALLS
from metaspo.engine.config.schema import BudgetTable
from metaspo.engine.money import total
from metaspo.engine.tasks import Notice
from metaspo.tables.printing import Data, make_table

if TYPE_CHECKING:
    from metaspo.engine.studies.needs import Need
    from metaspo.engine.studies.scale import AtScale

LONG = 7 * 24 * 60  # minutes
LONGER = 1.2  # times the dollars that are worth a line


def plan_data(name: str, plan: Plan, notices: Iterable[Notice], *, caps: Sequence[str]) -> Data:
    """A plan as plain data, with what its data's owner should know, and which caps the command may come to."""
    return {
        "name": name,
        "calls": asdict(plan.calls),
        "lanes": {role: {**asdict(lane), "minutes": lane.minutes} for role, lane in plan.lanes.items()},
        "paper": {"base": plan.paper.base, "optimizer": plan.paper.optimizer},
        "dollars": plan.dollars,
        "most_dollars": plan.most_dollars,
        "minutes": plan.minutes,
        "caps": list(caps),
        "notices": [asdict(notice) for notice in notices],
    }


def print_plan(out: Console, config: RunConfig, plan: Plan, *, like: str) -> None:
    """A plan as a table, and which caps of the config it may come to; `like`: the run whose answers it goes by."""
    table = make_table(
        f"{config.name}: at most",
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
            lane.model,
            f"{lane.calls:,}",
            f"~{lane.prompt_tokens:,}",
            f"~{lane.completion_tokens:,}",
            _dollars(lane.dollars),
            f"~{lane.minutes:,.1f}",
        )
    out.print(table)
    for line in caps_reached(config.budget, [plan]):
        out.print(line)
    calls = plan.calls
    out.print(
        f"Base calls: {calls.initial:,} first prompts, {calls.inner:,} inner loops, {calls.outer:,} outer loops, "
        f"{calls.test:,} test splits.{_grades(config, plan)}\n"
        "Calls are upper bounds, as if the cache were empty"
        f"{' and every answer of the optimizer could be used' if config.optimizer else ''}; "
        f"{_as_rounds_go_on(config)}"
        "tokens, dollars and minutes are estimates from the texts' lengths and the limits in the config.",
    )
    if not like and (plan.most_dollars or 0.0) > LONGER * (plan.dollars or 0.0):
        out.print(
            f"If answers are as long as max_tokens lets them, as those of a model that thinks may be, it is "
            f"{_dollars(plan.most_dollars)}; --like RUN takes them as a run had them."
        )
    if plan.paper.base > plan.calls.base:
        out.print(
            f"In the paper's shape (3 iterations of 3 user and 9 system prompts on all rows, 3 kept) it would be "
            f"{counted(plan.paper.base, 'base call')} and {counted(plan.paper.optimizer, 'optimizer call')}.",
        )
    elif plan.calls.base - plan.calls.test > CALLS:
        out.print(f"With --calls {CALLS} it would be {CALLS:,} base calls and the test splits: docs/presets.md.")


def all_plans(plans: Sequence[Plan]) -> str:
    """What they may take together, in a sentence."""
    calls = sum(lane.calls for plan in plans for lane in plan.lanes.values())
    dollars, most = total(plan.dollars for plan in plans), total(plan.most_dollars for plan in plans)
    longer = (most or 0.0) > LONGER * (dollars or 0.0)
    longest = f" ({_dollars(most)} if answers are as long as max_tokens lets them)" if longer else ""
    together = f"{counted(calls, 'call')}, {_dollars(dollars)}{longest}"
    return f"Together at most {together}; what they have in common is asked once."


def _as_rounds_go_on(config: RunConfig) -> str:
    """That a run whose rounds end with its base calls may ask the optimizer model more often than it says."""
    if config.train_calls is None or config.optimizer is None:
        return ""
    return (
        "but those of the optimizer are for prompts that are all scored in full: what a gate spares goes into further "
        "rounds, so that there may be a few times as many; "
    )


def scale_data(scales: "Sequence[AtScale]", pace: Pace, *, like: str) -> Data:
    """A plan at scale as plain data."""
    return {"speed": pace.speed, "speed_is": _origin(pace, like), "at": [scale.as_json() for scale in scales]}


def print_scale(out: Console, scales: "Sequence[AtScale]", needs: "Sequence[Need]", pace: Pace, *, like: str) -> None:
    """A plan at scale as a table, and what it rests on."""
    plural = "" if len(needs) == 1 else f" and {len(needs) - 1:,} more"
    table = make_table(
        f"{needs[0].name}{plural}: all calls that may be made",
        *("replicas", "tier", "hours", "GPU hours", "dollars for calls", "with GPUs"),
    )
    for scale in scales:
        table.add_row(
            f"{scale.replicas:,}",
            "" if scale.tier is None else str(scale.tier),
            _range(scale.least, scale.most),
            _range(scale.least * scale.gpus, scale.most * scale.gpus) if scale.gpus else "",
            _dollars(scale.dollars),
            "" if scale.cost is None else f"${_range(*scale.cost)}",
        )
    out.print(table)
    base = sum(need.calls.base for need in needs)
    optimizer = sum(need.calls.optimizer for need in needs)
    out.print(
        f"{counted(base, 'base call')}, {counted(optimizer, 'optimizer call')}. "
        f"{_replica(needs[0].config, pace, like)}\n"
        "Hours at least: what has the most to do works all the time, and limits count the tokens that calls use;\n"
        "at most: limits count all that answers may take, and models and rounds wait for each other.",
    )


def _replica(config: RunConfig, pace: Pace, like: str) -> str:
    """What the base model's servers are taken for."""
    backend = config.base.backend
    if backend == "openai":
        return "A provider's API is one server, whose limits are its tier's."
    server = "The model on this machine is one server" if backend == "local" else "One replica"
    places = AUTO_CONCURRENCY if config.base.concurrency == "auto" else config.base.concurrency
    if pace.speed is not None:
        return f"{server}: {pace.speed:,.4g} answer tokens a second ({_origin(pace, like)})."
    assumed = (
        "by the size of its file and the cores here"
        if backend == "local"
        else f"{counted(places, 'answer')} at once, a second each"
    )
    return f"{server}: {assumed} ({_origin(pace, like)})."


def _origin(pace: Pace, like: str) -> str:
    if like:
        return f"measured in {like}"
    return "assumed: --like RUN takes what a run had" if pace.speed is None else "given"


def _range(least: float, most: float) -> str:
    """Two numbers as one where they are the same in what is shown."""
    low, high = _short(least), _short(most)
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def _grades(config: RunConfig, plan: Plan) -> str:
    """How many calls go into grades, and whose."""
    calls = plan.calls.judge
    return f" Grades: {calls:,} of the {'judge' if config.judge else 'base model'}." if calls else ""


def endless(config: RunConfig, plan: Plan) -> str:
    """A warning of a run that may go on for longer than anybody waits, with no cap to stop it; "" for none."""
    if plan.minutes < LONG or config.budget != BudgetTable():
        return ""
    return (
        f"{config.name} may take {counted(plan.calls.base, 'call')}, some {plan.minutes / 1440:,.0f} days by the "
        "estimate of `metaspo plan`, and [budget] caps nothing"
    )


def caps_reached(budget: BudgetTable, plans: Sequence[Plan]) -> list[str]:
    """A sentence for each cap that is less than what the plans may take together; where a price is not known, dollars
    are not."""
    lanes = [lane for plan in plans for lane in plan.lanes.values()]
    calls = sum(lane.calls for lane in lanes)
    tokens = sum(lane.prompt_tokens + lane.completion_tokens for lane in lanes)
    dollars = sum(plan.dollars or 0.0 for plan in plans)
    hours = sum(plan.minutes for plan in plans) / 60
    needs = (
        ("calls", budget.calls, calls, counted(calls, "call")),
        ("tokens", budget.tokens, tokens, f"~{tokens:,} tokens"),
        ("dollars", budget.dollars, dollars, _dollars(dollars)),
        ("hours", budget.hours, hours, f"~{_short(hours)} hours"),
    )
    return [
        f"[budget] {key} = {cap} is less than the {shown} that it may take: it may stop before its end"
        f"{f', at about {cap / need:.0%}' if key == 'hours' else ''}."
        for key, cap, need, shown in needs
        if cap is not None and cap < need
    ]


def _dollars(amount: float | None) -> str:
    return "unknown (give prices)" if amount is None else f"~${amount:,.2f}"
