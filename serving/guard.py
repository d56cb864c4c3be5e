"""What stands before every handler: who may ask by which name, and failures as sentences in OpenAI's form."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from metaspo.engine.listening import IDLE
from metaspo.scheduling import CallFailed
from metaspo.serving.bodies import MAX_OF_BODY
from metaspo.serving.config import ServeConfig, is_loopback
from metaspo.serving.replies import failure

LOG = logging.getLogger(__name__)
HOSTS_KEPT = 64  # with their ports
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Of one server's handlers."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._hosts = frozenset({config.host, *config.hosts})
        self._known_hosts: set[str] = set()

    def __call__(self, handler: Handler) -> Handler:
        """A handler behind which every failure is a sentence in OpenAI's form."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                self._require_known_host(request)
                return await handler(request)
            except asyncio.CancelledError:
                raise  # the client is gone
            except CallFailed as failed:
                return failure(failed)
            except web.HTTPRequestTimeout:
                response = failure(CallFailed(f"The body was not here within {IDLE:g} seconds.", kind="request"))
                response.set_status(web.HTTPRequestTimeout.status_code)
                response.force_close()
                return response
            except web.HTTPRequestEntityTooLarge:
                return failure(CallFailed(f"The body is over {MAX_OF_BODY >> 20} MiB.", kind="request"))
            except web.RequestPayloadError as error:
                # aiohttp reads on, and logs whatever that raises but for a time-out, which it takes for the end
                request.content.set_exception(TimeoutError())
                response = failure(
                    CallFailed(f"The body cannot be read: {' '.join(str(error).split())}.", kind="request")
                )
                response.force_close()
                return response
            except ValueError as error:
                return failure(CallFailed(str(error), kind="request"))
            except Exception as bug:
                LOG.error("A mistake in metaspo: %s at %s", type(bug).__name__, request.path, exc_info=bug)
                return failure(CallFailed(f"A mistake in metaspo: {type(bug).__name__}.", kind="bug"))

        return handle

    def _require_known_host(self, request: web.Request) -> None:
        """A page in a browser on this machine could otherwise ask under a name of its own that leads here."""
        if request.host in self._known_hosts:
            return
        host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
        ours = is_loopback(host) or host in self._hosts or not (self._config.is_loopback or self._config.hosts)
        if not ours:
            raise CallFailed(f"The host {host[:80]!r} is not this server's: name it in `hosts`.", kind="host")
        if len(self._known_hosts) < HOSTS_KEPT:
            self._known_hosts.add(request.host)
