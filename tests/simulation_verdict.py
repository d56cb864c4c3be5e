"""What a finished simulation is held against: the oracle, and the books."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulation_ledger import Ledger
from simulation_oracle import PlanOracle
from simulation_plan import Plan
from simulation_world import Said, SimulatedWorld

from metaspo.backends import Completion, Request, Usage
from metaspo.cache import Entry, request_key
from metaspo.engine import RunConfig, RunReport, read_journal, selections
from metaspo.engine.journal.events import Event, Score, Start


def journals(folder: Path) -> Iterator[list[Event]]:
    """Every run's journal so far."""
    for path in sorted(folder.glob("runs/*/journal.jsonl")):
        yield read_journal(path)


def last_session(events: Sequence[Event]) -> Sequence[Event]:
    """What a journal says of the last session: one that had to do without an answer may select otherwise."""
    starts = [number for number, event in enumerate(events) if isinstance(event, Start)]
    return events[starts[-1] :] if starts else events


def check_selections(folder: Path, ledger: Ledger) -> None:
    """No journal says two different things at one address."""
    for events in journals(folder):
        try:
            selections(last_session(events) if ledger.ever_given_up else events)
        except ValueError as error:
            ledger.breaks(str(error))


def check_entries(entries: Mapping[str, Entry], world: SimulatedWorld, ledger: Ledger) -> dict[str, Completion]:
    """Every entry of the store is an answer that a server gave, whole, and none that was kept is missing."""
    for key, entry in entries.items():
        said = [_comparable(one) for one in world.said.get(key, ()) if not one.refused]
        if _comparable(entry.completion) not in said:
            ledger.breaks(f"the store holds {entry.completion} for {key[:8]}, which no server said")
    if missing := ledger.stored - entries.keys():
        ledger.breaks(f"{len(missing)} answers that were kept are not in the store")
    return {key: entry.completion for key, entry in entries.items()}


def compare(
    plan: Plan,
    config: RunConfig,
    report: RunReport,
    *,
    kept: Mapping[str, Completion],
    world: SimulatedWorld,
    ledger: Ledger,
) -> None:
    """One finished run with the oracle, which is given the world's answers; from an unsteady one, those kept."""

    def say(request: Request) -> Said:
        if request_key(request) in ledger.given_up:
            return replace(world.answer(request), refused=True)
        completion = kept.get(request_key(request)) if plan.unsteady else None
        if completion is None:
            return world.answer(request)
        return Said(completion.text, completion.finish_reason, completion.usage)

    oracle = PlanOracle(config, plan.tasks, say)
    oracle.run()
    assert report.directory is not None
    events: Sequence[Event] = read_journal(report.directory / "journal.jsonl")
    if ledger.ever_given_up:
        events = last_session(events)
    if (found := selections(events)) != oracle.selections:
        ledger.breaks(f"selections differ from the oracle's: {_first_difference(found, oracle.selections)}")
    _compare_scores(events, oracle.rows, ledger)
    tests = [
        (row.task, row.stage, row.prompt, row.system, row.user, row.score, row.malformed, row.failed)
        for row in report.result.tests
    ]
    if tests != oracle.tests:
        ledger.breaks(f"test scores differ from the oracle's: {tests} are not {oracle.tests}")


def _compare_scores(events: Sequence[Event], rows: Mapping[str, Mapping[str, Any]], ledger: Ledger) -> None:
    """No failure became a score: each scorecard is what the oracle says at its address."""
    for event in events:
        if not isinstance(event, Score):
            continue
        expected = rows.get(event.address, {})
        said = {name: getattr(event, name) for name in expected}
        if said != expected or not expected:
            ledger.breaks(f"{event.address} was scored {said}, the oracle says {expected}")


def _comparable(answer: Completion | Said) -> tuple[str, str, int, int]:
    usage: Usage = answer.usage
    return answer.text, answer.finish_reason, usage.prompt_tokens, usage.completion_tokens


def _first_difference(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    for address in sorted(expected.keys() | found.keys()):
        if found.get(address) != expected.get(address):
            return f"{address}: {found.get(address)} is not {expected.get(address)}"
    return "none"
