"""The purse of a whole command, with what its sessions took out of it written down as they take it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from metaspo.engine.config.schema import BudgetTable
from metaspo.engine.journal.events import Counts, Spent, Start
from metaspo.engine.journal.journal import FileJournal, Journal
from metaspo.engine.journal.ledger import Ledger
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.spent_before import sessions_before
from metaspo.scheduling import Account, Budget, Cost, Purse, RunStopped


def unanswered(spent: Spent) -> Cost:
    """What was taken out of a budget for calls that nobody saw an answer to: more than the answers account for."""
    taken = spent.of_budget
    booked = Cost(spent.calls, spent.prompt_tokens + spent.completion_tokens, spent.dollars)
    more = taken.minus(booked)
    return Cost(max(0, more.calls), max(0, more.tokens), max(0.0, more.dollars))


@contextmanager
def kept_ledger(
    directory: RunDirectory, books: Account | Purse, *, session: int, spent: Callable[[], Counts]
) -> Iterator[None]:
    """Note with each call what a session has `spent`, and taken out of its budget: one part of a command, or all.

    That is once for all calls of one turn of the event loop, and before any of them goes out, in a task of its own.
    """
    ledger = Ledger(directory.ledger, session=session)
    loop, noting = asyncio.get_running_loop(), False

    def note() -> None:
        nonlocal noting
        noting = False
        ledger.note(spent(), books.taken())

    def note_soon() -> None:
        nonlocal noting
        if not noting:
            noting = True
            loop.call_soon(note)

    note()
    books.on_change = note_soon
    try:
        yield
    finally:
        books.on_change = None
        ledger.close()


@contextmanager
def command_purse(table: BudgetTable, *, kept: Path | None, name: str) -> Iterator[Purse]:
    """What all parts of a command may spend together, with its sessions before; no cap, nothing written.

    Open it around the gateway: at its end everything is settled, and what was set aside and not used is given back.

    Args:
        kept: the folder with the command's journal of its spending; None where that is not to outlive the session.

    Raises:
        RunDirectoryError: while another process does the same, or if the folder cannot be written.
    """
    if kept is None or table.caps == Budget():
        yield Purse(table.caps, name=name)
        return
    directory = RunDirectory(kept)
    with directory.held(), closing(FileJournal(directory.journal, clock=asyncio.get_running_loop().time)) as journal:
        view = sessions_before(directory, journal, capped=True)
        purse = Purse(table.caps, spent=view.spent.of_budget, unanswered=unanswered(view.spent), name=name)
        book = _Book(journal, purse)
        purse.listeners.append(book.announce)
        with kept_ledger(directory, purse, session=view.sessions + 1, spent=book.answered):
            journal.write(Start.now(name=name, seed=0))
            try:
                yield purse
            finally:
                book.note(purse.spent.plus(purse.reserved))


class _Book:
    """Writes down what this session takes out of a command's purse."""

    def __init__(self, journal: Journal, purse: Purse) -> None:
        self._journal = journal
        self._purse = purse
        self._unanswered_before = purse.unanswered
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()

    def answered(self) -> Counts:
        """What calls cost whose answers were seen."""
        purse = self._purse
        sure = purse.spent.minus(purse.earlier).minus(purse.unanswered.minus(self._unanswered_before))
        return sure.calls, sure.tokens, 0, sure.dollars, 0

    def note(self, taken: Cost) -> None:
        """Out of the purse, by all sessions."""
        seconds = round(self._clock() - self._started, 3)
        self._journal.write(Spent.of(self.answered(), taken.minus(self._purse.earlier), seconds=seconds))

    def announce(self) -> None:
        """What will have been taken soon, before it is."""
        with suppress(RunStopped):  # what calls this must not be disturbed; the end meets the same fault
            self.note(self._purse.announced)
