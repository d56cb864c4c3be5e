"""The event loop that a program of ours runs on."""

import asyncio
from importlib.util import find_spec


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed (the extra `fast`); else asyncio's own. uvloop's clock counts whole milliseconds."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()
