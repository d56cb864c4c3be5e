"""What the sessions of a run spent before this one, and whether all of it is known."""

from contextlib import suppress
from dataclasses import replace

import orjson

from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.journal.events import Spent
from metaspo.engine.journal.journal import Journal, StoredJournal
from metaspo.engine.journal.ledger import left_by
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.directory import RunDirectory
from metaspo.scheduling import NOTHING


def sessions_before(directory: RunDirectory, journal: Journal, *, capped: bool) -> RunView:
    """The sessions so far of a directory that is held: what a kill kept the last one from saying is said for it.

    Raises:
        RunDirectoryError: where there is a cap on what they spend together and not all of it is known.
    """
    view, number, spent = _known(directory, capped=capped)
    if number == view.sessions > 0:
        spent = replace(spent, seconds=view.session.seconds)
        journal.write(spent)
        view.apply(spent)
    return view


def require_known(directory: RunDirectory, *, capped: bool) -> None:
    """Raises `RunDirectoryError` as `sessions_before` would, of a directory that need not be held."""
    if capped:
        _known(directory, capped=True)


def _known(directory: RunDirectory, *, capped: bool) -> tuple[RunView, int, Spent]:
    """The sessions by the journal; the number of one that was killed, and what it had spent."""
    stored = StoredJournal(directory.journal)
    view = RunView.of(stored)
    number, spent = left_by(directory.ledger) or (0, Spent())
    if capped:
        unseen = number > view.sessions and spent.of_budget != NOTHING
        _check_whole(directory, view, damaged=stored.damaged, unseen=unseen)
    return view, number, spent


def _check_whole(directory: RunDirectory, view: RunView, *, damaged: int, unseen: bool) -> None:
    """Raises `RunDirectoryError` for a journal that does not tell all of what its sessions spent: lines are `damaged`,
    or what lies beside it knows more; `unseen`: of a session."""
    if damaged:
        what = f"{damaged} of its lines cannot be read"
    elif unseen or _calls_summed_up(directory) > view.spent.calls:
        what = "lines are missing"
    else:
        return
    raise RunDirectoryError(
        f"{directory.journal}: {what}, so what was spent before is not known, and [budget] caps it; put a whole copy "
        f"there, or move {directory.path} away and set in [budget] what may still be spent: answers are in the cache"
    )


def _calls_summed_up(directory: RunDirectory) -> int:
    """Calls of all sessions, by the summary of the last one that wrote one; 0 where none can be read."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return int(orjson.loads(directory.summary.read_bytes())["all_sessions"]["calls"])
    return 0
