"""Python's collector of cyclic garbage, as a process of our own has it."""

import gc

YOUNG = 10_000
"""Objects that are made before those made last are looked through. Of Python's 700, calls under way make most again and
again: they are looked at while they are needed, for some 3% of a call's CPU."""


def leave_alone_what_stays() -> None:
    """What is there by now stays and is never looked at again, as all that was imported; the rest more seldom."""
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
