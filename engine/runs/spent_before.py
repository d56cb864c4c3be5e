"""What the sessions of a run spent before this one, and whether all of it is known."""

from contextlib import suppress
from dataclasses import replace

import orjson

from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.journal.events import Gap, Spent
from metaspo.engine.journal.journal import Journal, StoredJournal
from metaspo.engine.journal.ledger import left_by
from metaspo.engine.journal.view import RunView
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.runs.directory import RunDirectory
from metaspo.scheduling import NOTHING


def sessions_before(directory: RunDirectory, journal: Journal, *, capped: bool, warn: Warn = log_warning) -> RunView:
    """The sessions so far of a directory that is held: what a kill kept the last one from saying is said for it, and
    where not all of them is known any more, that. Warns where the last one's ledger is damaged.

    Raises:
        RunDirectoryError: where there is a cap on what they spend together and not all of it is known.
    """
    view, number, spent = _known(directory, capped=capped, warn=warn)
    if view.has_gaps:
        journal.write(Gap())
    if number == view.sessions > 0:
        spent = replace(spent, seconds=view.session.seconds)
        journal.write(spent)
        view.apply(spent)
    return view


def require_known(directory: RunDirectory, *, capped: bool) -> None:
    """Raises `RunDirectoryError` as `sessions_before` would, of a directory that need not be held."""
    if capped:
        _known(directory, capped=True, warn=lambda _: None)  # the next session says so


def _known(directory: RunDirectory, *, capped: bool, warn: Warn) -> tuple[RunView, int, Spent]:
    """The sessions by the journal, with a gap in it where what lies beside it knows more; the number of one that was
    killed, and what it had spent."""
    view = RunView.of(StoredJournal(directory.journal))
    number, spent = left_by(directory.ledger, warn=warn) or (0, Spent())
    unseen = number > view.sessions and spent.of_budget != NOTHING
    if unseen or _calls_summed_up(directory) > view.spent.calls:
        view.apply(Gap())
    if capped and view.has_gaps:
        raise RunDirectoryError(
            f"{directory.journal}: some of its lines are damaged or missing, so what was spent before is not known, "
            f"and [budget] caps it; put a whole copy there, or move {directory.path} away and set in [budget] what may "
            "still be spent: answers are in the cache"
        )
    return view, number, spent


def _calls_summed_up(directory: RunDirectory) -> int:
    """Calls of all sessions, by the summary of the last one that wrote one; 0 where none can be read."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return int(orjson.loads(directory.summary.read_bytes())["all_sessions"]["calls"])
    return 0
