"""Any server that speaks OpenAI's chat format (vLLM, llama.cpp and others), over aiohttp."""

import asyncio
from collections.abc import Mapping

import aiohttp
import orjson

from metaspo.backends.base import Reply, Request, ServerInfo
from metaspo.backends.base_url import parse_base_url
from metaspo.backends.chat_format import TokenLimitParameter, call_of, chat_body, read_reply
from metaspo.backends.deadlines import Deadlines, TimeLimit
from metaspo.backends.errors import BackendError, ConnectionLost, HalfAnswer, TimedOut, Unreachable
from metaspo.backends.http_errors import Call, error_from_response
from metaspo.backends.prometheus import parse_load
from metaspo.backends.server_info import read_models

_KEEP_ALIVE = 4.0  # vLLM drops idle connections after 5 s; ours must go first
_CONNECT_LIMIT = 10.0
_REFUSED = "connection refused"


class OpenAICompatible:
    """One endpoint of an OpenAI-compatible server. To be used within one event loop.

    Each request is sent once: no retries, no limit on the number in flight. Cancelling a call closes its connection,
    which tells vLLM and llama.cpp to stop working on it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        name: str | None = None,
        limit_parameter: TokenLimitParameter = "max_tokens",
        probe_limit: float = 10.0,
    ) -> None:
        """`base_url` with or without "/v1"; `probe_limit` in seconds, for `probe` and `load`. Raises `ValueError`."""
        self._url = parse_base_url(base_url)
        self._chat_url = f"{self._url.api}/chat/completions"
        self._key = api_key or ""
        self._name = name or self._url.label
        self._limit_parameter = limit_parameter
        self._probe_limit = probe_limit
        self._session: aiohttp.ClientSession | None = None
        self._deadlines = Deadlines(TimeLimit.expire)
        self._in_flight = 0

    def __repr__(self) -> str:
        return f"<OpenAICompatible {self._name}, {self._in_flight} in flight>"

    @property
    def name(self) -> str:
        """Host and port, or the name given."""
        return self._name

    @property
    def base_url(self) -> str:
        """The address in use, with its "/v1"."""
        return self._url.api

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Send the request once; `time_limit` in seconds, from sending to the last byte. Raises a `BackendError`."""
        call = call_of(request, endpoint=self._name, key=self._key)
        text = orjson.dumps(chat_body(request, limit_parameter=self._limit_parameter))
        body = aiohttp.BytesPayload(text, content_type="application/json")
        clock = asyncio.get_running_loop().time
        started = clock()
        self._in_flight += 1
        try:
            status, headers, answer = await self._exchange("POST", self._chat_url, body, call, time_limit)
        finally:
            self._in_flight -= 1
        return read_reply(status, headers, answer, request=request, call=call, latency=clock() - started)

    async def probe(self) -> ServerInfo:
        """The models the server lists, and its context if it says so (vLLM and llama.cpp do)."""
        call = Call(endpoint=self._name, model="its list of models", key=self._key)
        status, headers, body = await self._exchange("GET", f"{self._url.api}/models", None, call, self._probe_limit)
        if status != 200:
            raise error_from_response(status, headers, body, call=call)
        return read_models(body, call=call)

    async def load(self) -> Mapping[str, float]:
        """Gauges from the server's `/metrics` page; empty where there is none to be had."""
        call = Call(endpoint=self._name, model="its metrics", key=self._key)
        try:
            status, _, body = await self._exchange("GET", f"{self._url.root}/metrics", None, call, self._probe_limit)
        except BackendError:
            return {}
        return parse_load(body.decode(errors="replace")) if status == 200 else {}

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        self._deadlines.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_LIMIT),  # the rest is `TimeLimit`'s
            )
        return self._session

    async def _exchange(
        self, method: str, url: str, body: aiohttp.BytesPayload | None, call: Call, time_limit: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        answer_begun = False
        try:
            with TimeLimit(time_limit, self._deadlines):
                async with self._open().request(method, url, data=body, allow_redirects=False) as response:
                    answer_begun = True
                    return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _connection_error(error, call=call, time_limit=time_limit, answer_begun=answer_begun) from error


def _connection_error(error: Exception, *, call: Call, time_limit: float, answer_begun: bool) -> BackendError:
    """The cases: no connection at all; too slow; not HTTP; broken before or within the answer."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        reason = _reason(error)
        message = f"{call.endpoint} cannot be reached ({reason}): is the server running?"
        return Unreachable(message, refused=reason == _REFUSED)
    if isinstance(error, TimeoutError):
        return TimedOut(f"{call.endpoint} gave no whole answer within {time_limit:g} seconds.")
    if isinstance(error, aiohttp.ClientResponseError):
        return HalfAnswer(f"{call.endpoint} sent something that is not HTTP.")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        answer_begun = answer_begun or not isinstance(error.message, str)
    when = "within its answer" if answer_begun else "before its answer"
    return ConnectionLost(f"{call.endpoint} closed the connection {when}.", before_answer=not answer_begun)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return "TLS failed"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no answer to the connection"
    if isinstance(error, OSError) and isinstance(error.__cause__, ConnectionRefusedError):
        return _REFUSED
    return "no connection"
