"""The event loop that a program of ours runs on."""

import asyncio
from importlib.util import find_spec


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed (the extra `fast`), whose clock counts whole milliseconds; else asyncio's own."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    from metaspo.backends.loops.forkable_loop import ForkableLoop

    return ForkableLoop()
