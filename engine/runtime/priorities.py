"""Which request goes first: what unlocks most work, and what tells most of a candidate.

A priority begins with (iteration, phase): smaller goes first. A candidate's evaluations of one (system, user) pair that
are asked together share one priority, so they leave the queue together and a server finds their common prefix in its
cache.
"""

from typing import Literal

from metaspo.scheduling import Priority

INNER, OUTER = 0, 1
LAST = 1_000_000  # after every iteration


def initial(task: int) -> Priority:
    """Scoring a task's first user prompt: everything waits for it."""
    return (0, INNER, 0, 0, task, 0)


def inner(iteration: int, *, task: int, candidate: int, part: int = 0) -> Priority:
    """A candidate user prompt; its hard examples (part 0) before the easy ones (part 1)."""
    return (iteration, INNER, candidate, part, task, 0)


def chained(first: Priority, *, step: int) -> Priority:
    """A candidate's optimizer call after so many others of its own, which have to be answered first.

    It goes after the first calls of the next candidates: what a rate limit lets through last should be a candidate's
    last call, or the limit is left unused while its first is out. In the outer loop they are more for each candidate:
    a first call takes longest there, but servers, which have much to do for a system prompt, should not wait for all
    of them.
    """
    iteration, phase, candidate, part, task, prompt = first
    later = candidate + step if phase == INNER else candidate * (1 + step)
    return (iteration, phase, later, part + step, task, prompt)


def unchained(priority: Priority) -> Priority:
    """The priority of the first call of the same candidate."""
    iteration, phase, candidate, step, task, prompt = priority
    first = candidate - step if phase == INNER else candidate // (1 + step)
    return (iteration, phase, first, 0, task, prompt)


def outer(iteration: int, *, candidate: int, part: int = 0, task: int = 0, prompt: int = 0) -> Priority:
    """A candidate system prompt; the hard examples of all its nodes first, task by task, user prompt by user prompt."""
    return (iteration, OUTER, candidate, part, task, prompt)


def node_by_node(first: Priority, *, part: int) -> Priority:
    """The priority of a part of a candidate that is not raced: its hard examples (part 0) node by node, then the easy
    ones, with all candidates of a round taking turns on each node.

    A bound bites near the end of a candidate's examples. Candidate by candidate, these would be in flight by then; in
    turn, they still wait (docs/benchmarks.md, "order").
    """
    iteration, phase, candidate, _, task, prompt = first
    return (iteration, phase, part, task, prompt, candidate)


def staggered(first: Priority, *, part: int, lead: int) -> Priority:
    """The priority of a part of a raced candidate: each candidate is `lead` parts ahead of the one after it.

    Candidate by candidate, the rest of one would be in flight before its first answers could drop it; all abreast, none
    would be through in time to be the bar for those after it (docs/racing.md).
    """
    iteration, phase, candidate, _, task, prompt = first
    return (iteration, phase, part + lead * candidate, candidate, task, prompt)


def beside_others(priority: Priority, turn: int) -> Priority:
    """The priority of what a run asks, beside what others ask at once: run by run in their turns, all test splits last.

    In step, all runs would wait for their optimizers in the same seconds, and their servers for all of them.
    """
    return (int(priority[:1] == (LAST,)), turn, *priority)


def final(*, stage: Literal["before", "after", "given"], task: int, prompt: int = 0) -> Priority:
    """A test split: nothing waits for it, so it fills what the loops leave free."""
    return (LAST, int(stage == "after"), 0, 0, task, prompt)
