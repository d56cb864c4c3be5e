"""The event loop that runs here, or what to do where none does."""

import asyncio


def asyncio_loop(asking: str) -> asyncio.AbstractEventLoop:
    """asyncio's loop, for somebody with that name. Raises `RuntimeError` where another library's runs, or none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"{asking} needs asyncio's event loop, and none runs here: in a trio program, give it a thread with "
            "`await trio.to_thread.run_sync(asyncio.run, …)`, or ask a metaspo.Client, which trio can wait for"
        ) from None
