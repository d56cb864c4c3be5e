"""Which request goes first: what unlocks most work, then candidate by candidate.

A priority is (iteration, phase, candidate, part, task, prompt): smaller goes first. Requests of one (system, user) pair
share one priority, so they leave the queue together and a server finds their common prefix in its cache.
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


def outer(iteration: int, *, candidate: int, part: int = 0, task: int = 0, prompt: int = 0) -> Priority:
    """A candidate system prompt; the hard examples of all its nodes first, task by task, user prompt by user prompt."""
    return (iteration, OUTER, candidate, part, task, prompt)


def final(*, stage: Literal["before", "after", "given"], task: int, prompt: int = 0) -> Priority:
    """A test split: nothing waits for it, so it fills what the loops leave free."""
    return (LAST, int(stage == "after"), 0, 0, task, prompt)
