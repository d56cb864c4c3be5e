"""The purse of a whole command, with what its sessions took out of it written down as they take it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metaspo.engine.config.schema import BudgetTable
from metaspo.engine.journal.events import Spent, Start
from metaspo.engine.journal.journal import FileJournal, StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.directory import RunDirectory
from metaspo.scheduling import Budget, Cost, Purse, RunStopped


def caps(table: BudgetTable) -> Budget:
    """The caps of a config."""
    return Budget(calls=table.calls, tokens=table.tokens, dollars=table.dollars)


def unanswered(spent: Spent) -> Cost:
    """What was taken out of a budget for calls that nobody saw an answer to: more than the answers account for."""
    taken = spent.of_budget
    booked = Cost(spent.calls, spent.prompt_tokens + spent.completion_tokens, spent.dollars)
    more = taken.minus(booked)
    return Cost(max(0, more.calls), max(0, more.tokens), max(0.0, more.dollars))


@contextmanager
def command_purse(table: BudgetTable, *, kept: Path | None, name: str) -> Iterator[Purse]:
    """What all parts of a command may spend together, with its sessions before; no cap, nothing written.

    Open it around the gateway: at its end everything is settled, and what was set aside and not used is given back.

    Args:
        kept: the folder with the command's journal of its spending; None where that is not to outlive the session.

    Raises:
        RunDirectoryError: while another process does the same, or if the folder cannot be written.
    """
    if kept is None or caps(table) == Budget():
        yield Purse(caps(table))
        return
    directory = RunDirectory(kept)
    with directory.held():
        before = RunView.of(StoredJournal(directory.journal)).spent
        journal = FileJournal(directory.journal)
        purse = Purse(caps(table), spent=before.of_budget, unanswered=unanswered(before))
        clock = asyncio.get_running_loop().time
        started = clock()

        def note(taken: Cost) -> None:
            sure = purse.spent.minus(purse.earlier).minus(purse.unanswered.minus(unanswered(before)))
            journal.write(
                Spent(
                    calls=sure.calls,
                    prompt_tokens=sure.tokens,
                    dollars=sure.dollars,
                    seconds=round(clock() - started, 3),
                    of_budget=taken.minus(purse.earlier),
                )
            )

        def announce() -> None:
            with suppress(RunStopped):  # what calls this must not be disturbed; the end meets the same fault
                note(purse.announced)

        purse.listeners.append(announce)
        try:
            journal.write(Start.now(name=name, seed=0))
            yield purse
        finally:
            note(purse.spent.plus(purse.reserved))
            journal.close()
