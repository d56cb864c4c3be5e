"""What the live page shows of a run, as plain data: a function of what its directory says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from typing import Any

from metaspo.engine.config.schema import ROLES
from metaspo.engine.evaluation.task_rows import COLUMNS, TaskRow
from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import Spent
from metaspo.engine.journal.history import Proposed
from metaspo.engine.money import show_dollars
from metaspo.engine.optimize.result import Gain
from metaspo.engine.runs.going_on import GoingOn, going_on
from metaspo.engine.runs.status import session_of, sources_of, weights_of
from metaspo.engine.runs.stored import rows_of, summary_of
from metaspo.engine.runtime.time_left import spoken
from metaspo.engine.studies.noted import NotedGrid
from metaspo.engine.watch.follower import Follower
from metaspo.engine.watch.stop import process_of

Data = dict[str, Any]


def state_of(follower: Follower, *, running: bool) -> Data:
    """How far a run is, what it has come to, and what it took."""
    run, view = follower.run, follower.view
    config, summary, result = follower.part("config"), follower.part("summary"), follower.part("result")
    live = follower.part("live")
    session = session_of(run, view, running=running, config=config, summary=summary)
    state = session.state if session else "ended"
    written = summary_of({"summary": summary, "directory": str(run.path)})
    again = GoingOn() if result or state == "running" else going_on(run)
    points = [asdict(point) for point in view.history.points(weights_of(config), sources=sources_of(config))]
    stopped = written.stopped if written and state == "ended" and not result else ""
    return {
        "name": run.name,
        "stoppable": running and process_of(follower) is not None,
        "state": "finished" if result and state != "running" else "stopped" if state == "ended" else state,
        "stopped": stopped or ("interrupted" if state == "ended" and not result else ""),
        "goes_on_with": again.command,
        "since": session.since if session else 0.0,
        "seconds": view.spent.seconds,
        "stage": session.stage if session else "",
        "models": {role: (config.get(role) or {}).get("model", "") for role in ROLES},
        "progress": _progress(live, running=state == "running"),
        "points": points,
        "spent": {**_plain(view.spent), "cap": config.get("budget", {})},
        "warnings": _warnings(follower, live, running=state == "running", hindered=again.hindered),
        "gains": [gain_data(gain) for gain in (written.gains if written else ())],
        "no_system_prompt": view.trials.search.sentence if result and not view.trials.search.adopted else "",
        "system_prompt": result.get("system_prompt")
        or view.history.best_prompts.get("")
        or config.get("system_prompt"),
        "tasks": table_of(rows_of({"result": result, "summary": summary, "directory": ""})) if result else None,
        "lanes": live.get("lanes", {}),
        "lanes_wall": live.get("wall", 0.0),
    }


def _plain(spent: Spent) -> Data:
    return {
        "calls": spent.calls,
        "tokens": spent.prompt_tokens + spent.completion_tokens,
        "dollars": spent.dollars,
        "text": show_dollars(spent.dollars, unpriced=spent.unpriced),
    }


def _progress(live: Mapping[str, Any], *, running: bool) -> Data | None:
    if not live.get("planned"):
        return None
    left, stops_in = live.get("seconds_left"), live.get("stops_in")
    seconds = (left[0], left[1]) if left else None
    stops_in = inf if stops_in is None else stops_in
    words = spoken(seconds, stops_in=stops_in, done=live["settled"] / live["planned"])
    return {
        "planned": live["planned"],
        "settled": live["settled"],
        "left": words if running else "",
        "asked": live.get("optimizer_asked", 0) if running else 0,
        "wall": live.get("wall", 0.0),
    }


def _warnings(follower: Follower, live: Mapping[str, Any], *, running: bool, hindered: str) -> list[str]:
    said = [*live.get("warnings", ()), follower.view.proposals.warning]
    stopped = [
        f"the {name} model has stopped: {lane['stopped']}"
        for name, lane in live.get("lanes", {}).items()
        if running and lane.get("stopped")
    ]
    return list(dict.fromkeys(filter(None, (*said, *stopped, hindered))))


def candidates_of(follower: Follower) -> list[Data]:
    """Every proposal with where its parent stands; the texts in full are to be asked for one by one."""
    first = {"": str(follower.part("config").get("system_prompt", ""))}
    places: dict[tuple[str, str], str] = {}
    every = []
    for proposed in follower.view.history.proposals(first):
        parent = places.get((proposed.task, proposed.parent), "")
        if proposed.text:
            places.setdefault((proposed.task, proposed.text), proposed.address)
        every.append(
            {
                "address": proposed.address,
                "place": Address.parse(proposed.address).words,
                "level": proposed.level,
                "task": proposed.task,
                "text": proposed.text[:200],
                "parent": parent,
                "score": proposed.score,
                "outcome": proposed.outcome or "being scored",
                "why": proposed.why,
                "unasked": not proposed.text and not proposed.steps,
            }
        )
    return every


def proposal_at(follower: Follower, address: str) -> Proposed | None:
    """The proposal at an address."""
    config = follower.part("config")
    first = {task["name"]: task.get("user_prompt") or "" for task in config.get("tasks", ())}
    proposals = follower.view.history.proposals({"": str(config.get("system_prompt", "")), **first})
    return next((proposed for proposed in proposals if proposed.address == address), None)


def gain_data(gain: Gain) -> Data:
    """A gain in words."""
    return {
        "role": gain.role,
        "before": gain.before,
        "after": gain.after,
        "text": gain.points,
        "verdict": gain.verdict,
        "clear": gain.interval.low > 0 or gain.interval.high < 0,
    }


def table_of(rows: Sequence[TaskRow]) -> Data:
    """Rows of tasks as heads and texts."""
    return {"columns": list(COLUMNS), "rows": [[text(row) for text in COLUMNS.values()] for row in rows]}


def grids_of(grids: Sequence[NotedGrid], runs: Mapping[str, Data]) -> list[Data]:
    """Comparisons as tables: methods by domain and seed, each cell with its run as far as that has come.

    A method that is a fixed prompt has no runs of its own, and no row: it is named below.
    """
    told = []
    for grid in grids:
        cells = [cell for cell in grid.cells if cell.run]
        columns = list(dict.fromkeys(f"{cell.domain} seed {cell.seed}".strip() for cell in cells))
        rows: dict[str, dict[str, Data]] = {}
        for cell in cells:
            run = runs.get(cell.run, {"name": "", "state": "to come", "share": 0, "score": ""})
            shown = {key: run[key] for key in ("name", "state", "share", "score")}
            rows.setdefault(cell.method, {})[f"{cell.domain} seed {cell.seed}".strip()] = shown
        done = sum(cell["state"] == "finished" for row in rows.values() for cell in row.values())
        table = [{"method": method, "cells": [row.get(column) for column in columns]} for method, row in rows.items()]
        fixed = list(dict.fromkeys(cell.method for cell in grid.cells if not cell.run))
        counts = {"done": done, "all": len(cells)}
        told.append({"name": grid.name, "columns": columns, "rows": table, "fixed": fixed, **counts})
    return told
