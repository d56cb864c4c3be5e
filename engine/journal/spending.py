"""What the sessions of a run have spent, as its journal tells."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metaspo.engine.journal.barriers import barriers
from metaspo.engine.journal.journal import Journal, StoredJournal
from metaspo.engine.journal.proposals import proposals
from metaspo.scheduling import NOTHING, Account, Cost

SPENT = ("calls", "prompt_tokens", "completion_tokens", "dollars")


def note_spending(journal: Journal, account: Account, *, seconds: float, last: bool = False) -> None:
    """Journal what a session has spent so far, and what that took out of its budget.

    The two differ: calls still under way, which may yet come in after a stop, and calls without a whole answer count
    against the budget at their most. So does, until the `last` time, what may be taken before it is said again: a
    session that is killed has never taken more than it said.
    """
    of_budget = account.taken() if last else account.announced()
    total = account.statistics().total
    spent = {name: getattr(total, name) for name in SPENT}
    journal.write("spent", "", {**spent, "seconds": round(seconds, 3), "of_budget": of_budget._asdict()})


def of_journal(events: StoredJournal | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a summary takes from the journal: things that may depend on how the run went, and so are in no result."""
    luck = deque((event["says"] for event in events if event["event"] == "optimism"), maxlen=1)
    return {
        "all_sessions": all_sessions(events),
        "barriers": barriers(events),
        "optimism_estimate": luck[-1] if luck else "",
        "proposals": proposals(events).as_json(),
    }


def all_sessions(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What all sessions of a journal spent together: the last that each said of itself before the next one started.

    A session says it with every scorecard, now and then between two, and at its end; of one that was killed, the calls
    after the last time are not known. Its budget has paid for them all the same, see `taken_from_budget`.
    """
    sessions = _last_said(events)
    return {"sessions": len(sessions), **{name: sum(one[name] for one in sessions) for name in (*SPENT, "seconds")}}


def taken_from_budget(events: Iterable[Mapping[str, Any]]) -> Cost:
    """The most that all sessions of a journal can have taken out of the run's budget."""
    taken = NOTHING
    for said in _last_said(events):
        taken = taken.plus(Cost(**said.get("of_budget", {})))
    return taken


def _last_said(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last that each session of a journal said of what it spent; zeros for one that said nothing."""
    sessions: list[Mapping[str, Any]] = []
    for event in events:
        if event["event"] == "start":
            sessions.append(dict.fromkeys((*SPENT, "seconds"), 0))
        elif event["event"] == "spent" and sessions:
            sessions[-1] = event
    return sessions
