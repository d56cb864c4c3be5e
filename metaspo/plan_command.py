"""`metaspo plan`: what a run will need."""

import typer

from metaspo import tables
from metaspo.console import exit_on_user_error, out, say_warning
from metaspo.engine import check_optimizable, plan_run, prepare
from metaspo.engine.runs.prepare import tell_notices
from metaspo.overrides import all_overrides
from metaspo.parameters import Calls, Configs, Json, NamedArguments, Sets
from metaspo.plan_tables import caps_reached, plan_data, print_plan


def add_commands(app: typer.Typer) -> None:
    """Register what is here."""
    app.command(cls=NamedArguments)(plan)


def plan(configs: Configs, calls: Calls = None, sets: Sets = None, json: Json = False) -> None:
    """Say what a run will need, before anything is spent: calls, tokens, dollars, minutes."""
    with exit_on_user_error():
        prepared = [prepare(path, overrides=all_overrides(calls, sets)) for path in configs]
        for item in prepared:
            check_optimizable(item.config, item.tasks, source=item.source)
        tell_notices(prepared, say_warning)
        plans = [plan_run(item.config, item.tasks) for item in prepared]
    if json:
        paired = zip(prepared, plans, strict=True)
        plans_of = [
            plan_data(item.config.name, plan, item.notices, caps=caps_reached(item.config.budget, [plan]))
            for item, plan in paired
        ]
        tables.print_json(out, plans_of)
        return
    for item, estimate in zip(prepared, plans, strict=True):
        print_plan(out, item.config, estimate)
        if item.start.run:
            tables.say(out, item.start.sentence)
