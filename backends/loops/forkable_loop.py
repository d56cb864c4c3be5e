"""uvloop's event loop, fit for a process that forks."""

import socket
from typing import Any

import uvloop


class ForkableLoop(uvloop.Loop):
    """Looks names up as asyncio does, in Python's threads.

    uvloop has libuv's for that, even of a bare address that it connects to, and a fork of a process that has those
    crashes where it ends.
    """

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """As asyncio's."""
        numeric = flags | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        try:
            return socket.getaddrinfo(host, port, family, type, proto, numeric)  # which asks nobody
        except socket.gaierror:
            return await self.run_in_executor(None, socket.getaddrinfo, host, port, family, type, proto, flags)
