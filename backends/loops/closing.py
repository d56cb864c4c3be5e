"""Work that a cancellation must not break off."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

import anyio


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work to its end, whatever is cancelled meanwhile; a cancellation is raised when it is over.

    A shielded scope of anyio's is not enough: it holds back what other scopes cancel, but not `Task.cancel`, which is
    what an event loop makes of Ctrl-C.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def close_all(closing: Iterable[Awaitable[None]]) -> None:
    """Close things at once, every one of them whatever becomes of the others; then raise the first error there was."""
    for error in await asyncio.gather(*closing, return_exceptions=True):
        if error is not None:
            raise error
