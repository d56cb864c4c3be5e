"""Addresses name the nodes of a run, and seed everything random that happens there.

An address reads from the outside in: `iter=1/outer/cand=4/analyze`. A draw at an address is the same
whatever happened before it, beside it, or in an earlier, interrupted process.
"""

import hashlib
from random import Random

from metaspo.engine.journal.address import Address

DRAWS = 2**53  # draw indices stay exact in every JSON reader


def join(*parts: str) -> str:
    """Join parts into one address: `join("iter=1", "outer")` is `iter=1/outer`."""
    return "/".join(parts)


def inner_address(iteration: int, *, task: str = "") -> str:
    """Where a task's inner loop is in an iteration; without a task, where those of all tasks are."""
    return str(Address(iteration, "inner", task))


def outer_address(iteration: int) -> str:
    """Where an iteration's outer loop is."""
    return str(Address(iteration, "outer"))


def candidate_address(above: str, number: int) -> str:
    """Where candidate `number`, from 1, of a round or a step is."""
    return join(above, f"cand={number}")


def rng_at(seed: int, address: str) -> Random:
    """A generator of its own for one address of a run."""
    return Random(_digest(seed, address, "rng"))


def draw_at(seed: int, address: str, *, attempt: int) -> int:
    """The draw index of the optimizer call at an address; `attempt` counts redraws of malformed answers from 0."""
    return _digest(seed, address, f"draw={attempt}") % DRAWS


def _digest(seed: int, address: str, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\n{address}\n{purpose}".encode()).digest()[:16], "big")
