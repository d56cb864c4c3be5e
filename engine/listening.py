"""Where clients come in: no more of them at a time than there are files for; the others wait before the door."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

LOG = logging.getLogger(__name__)
IN_LINE = 1024  # clients that the system lets wait to be let in
LOOK = 0.02  # seconds between two looks whether there is room
NO_ROOM = 1.0  # seconds until another try where the system had none
IDLE = 75.0  # seconds that a client stays connected without asking
OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Door:
    """Lets clients in to an app's server.

    Attributes:
        room: how many clients may be connected; None for any number.
    """

    def __init__(self, app: web.Application, *, room: int | None) -> None:
        self.room = room
        self._server: web.Server | None = None
        self._is_half_full = False
        app.on_response_prepare.append(self._leave_or_stay)

    @asynccontextmanager
    async def opened(self, runner: web.AppRunner, *, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
        """Listen, at the address that is given. Raises `OSError` where that cannot be."""
        loop = asyncio.get_running_loop()
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False, reuse_address=True)
        address: tuple[str, int] = bound.sockets[0].getsockname()[:2]
        # a free port is another one in each family: of these only the first is told, and listened at
        sockets = [bound_to.dup() for bound_to in bound.sockets if bound_to.getsockname()[1] == address[1]]
        bound.close()
        async with self.opened_at(runner, sockets):
            yield address

    @asynccontextmanager
    async def opened_at(self, runner: web.AppRunner, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
        """Listen at sockets that are bound, and close them in the end. Raises `OSError` where that cannot be."""
        self._server = runner.server
        for listener in sockets:
            listener.listen(IN_LINE)
            listener.setblocking(False)
        tasks = [asyncio.create_task(self._let_in(listener)) for listener in sockets]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for listener in sockets:
                listener.close()

    async def _let_in(self, listener: socket.socket) -> None:
        loop, told = asyncio.get_running_loop(), False
        while self._server is not None:
            while self._has(self.room):  # noqa: ASYNC110 - aiohttp has no event for a client that leaves
                await anyio.sleep(LOOK)
            try:
                client, _ = await loop.sock_accept(listener)
                await self._welcome(client)
            except OSError as error:  # else the client has gone again
                if error.errno in OUT_OF:
                    if not told:
                        LOG.warning("no more clients can be let in for now: %s", error.strerror)
                    told = True
                    await anyio.sleep(NO_ROOM)
            except Exception as bug:
                LOG.error("A mistake in metaspo: a client could not be let in: %s", type(bug).__name__, exc_info=bug)
                await anyio.sleep(NO_ROOM)

    async def _welcome(self, client: socket.socket) -> None:
        """Raises what the loop does; the client is gone then."""
        if self._server is None:
            client.close()
            return
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._server, client)
            self._is_half_full = self._has_over_half()
        except BaseException:
            client.close()
            raise

    def _has(self, clients: int | None) -> bool:
        """Whether so many are connected."""
        return clients is not None and self._server is not None and len(self._server.connections) >= clients

    def _has_over_half(self) -> bool:
        return self.room is not None and self._has(self.room // 2 + 1)

    async def _leave_or_stay(self, _: web.Request, response: web.StreamResponse) -> None:
        """Half of the room at most is for clients that may ask again; whoever has more than that to wait for leaves."""
        if self._is_half_full:
            self._is_half_full = self._has_over_half()
        if self._is_half_full:
            response.force_close()
            response.headers["Connection"] = "close"
