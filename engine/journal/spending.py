"""How a session writes down what it has spent."""

from metaspo.engine.journal.events import Spent
from metaspo.engine.journal.journal import Journal
from metaspo.scheduling import Account


def note_spending(journal: Journal, account: Account, *, seconds: float, last: bool = False) -> None:
    """Journal what a session has spent so far, and what that took out of its budget.

    The two differ: calls still under way, which may yet come in after a stop, and calls without a whole answer count
    against the budget at their most. So does, until the `last` time, what may be taken before it is said again: a
    session that is killed has never taken more than it said.
    """
    taken = account.taken() if last else account.announced()
    journal.write(Spent.of(account.counts(), taken, seconds=round(seconds, 3)))
