"""One request and its response over HTTP: bounded in time and in size, sent nowhere else, and never twice."""

import ssl
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from aiohttp import hdrs
from aiohttp.http import HttpProcessingError

from metaspo.backends.errors import BackendError, ConnectionLost, FatalError, HalfAnswer, TimedOut, Unreachable
from metaspo.backends.http.connections import Begun, Connections
from metaspo.backends.http.deadlines import Deadlines, TimeLimit
from metaspo.backends.http.endpoint import HttpEndpoint
from metaspo.backends.http.errors import Call

_KEEP_ALIVE = 4.0  # vLLM drops idle connections after 5 s; ours must go first
_CONNECT_LIMIT = 10.0
_REFUSED = "connection refused"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_ENCODINGS: dict[str, str] = {hdrs.ACCEPT_ENCODING: "gzip, deflate"}  # unpacked here, where it is bounded


class Response(NamedTuple):
    """A whole response; `headers` is looked up by lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpExchange:
    """The connections to one endpoint. To be used within one event loop; opened by the first request."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint
        self._connections: Connections | None = None
        self._heard = False  # anything that is HTTP
        self._deadlines = Deadlines(TimeLimit.expire)

    async def send(self, url: str, body: bytes | None, *, call: Call, time_limit: float, max_bytes: int) -> Response:
        """POST JSON, or GET where there is no body, once.

        `time_limit` in seconds until the last byte, `max_bytes` of the response, unpacked. Raises a `BackendError`.
        """
        connections = self._connections or self._open(call)
        begun: Begun | None = None
        try:
            with TimeLimit(time_limit, self._deadlines):
                begun = await connections.begin(url, body)
                self._heard = True
                content = begun.content
                if not isinstance(content, bytes):
                    content = await _read(content, begun, max_bytes=max_bytes)
            if len(content) > max_bytes:
                begun.connection.close()
                raise _too_long(max_bytes, call)
            connections.let_go(begun)
            encoding = begun.headers.get(hdrs.CONTENT_ENCODING)
            if encoding is not None:
                content = _unpacked(content, encoding, max_bytes=max_bytes, call=call)
        # A `TimeoutError` is an `OSError`.
        except (aiohttp.ClientError, HttpProcessingError, OSError, HalfAnswer) as error:
            if begun is None or 200 <= begun.status < 300:
                failure = _failure(error, call=call, time_limit=time_limit, answer_begun=begun is not None)
                raise failure if self._heard else _first_of_all(failure, url, call) from error
            content = b""  # a refusal is one, whatever becomes of its words
        return Response(begun.status, begun.headers, content)

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        self._deadlines.close()
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()

    def _open(self, call: Call) -> Connections:
        """Raises `FatalError` where certificates or the proxy cannot be used."""
        endpoint = self._endpoint
        try:
            context: ssl.SSLContext | bool = True
            if endpoint.ca_file:
                context = ssl.create_default_context()
                context.load_verify_locations(endpoint.ca_file)
            proxy = endpoint.proxy_url()
        except ssl.SSLError as error:
            raise FatalError(f"{endpoint.ca_file} holds no certificates (PEM) for {call.endpoint}.") from error
        except OSError as error:
            raise FatalError(f"{endpoint.ca_file}, for {call.endpoint}, cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise FatalError(f"{call.endpoint} cannot be reached through the proxy given: {error}.") from error
        self._connections = Connections(
            aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=300, ssl=context),
            headers={**_ENCODINGS, **endpoint.all_headers()},
            proxy=proxy,
            connect_limit=_CONNECT_LIMIT,
        )
        return self._connections


async def _read(stream: aiohttp.StreamReader, begun: Begun, *, max_bytes: int) -> bytes:
    """All of a response, or as much of it as is too much."""
    try:
        content = await stream.readany()
        if len(content) <= max_bytes and not stream.at_eof():
            content = await _read_on(content, stream, max_bytes=max_bytes)
    except BaseException:
        begun.connection.close()
        raise
    return content


async def _read_on(content: bytes, stream: aiohttp.StreamReader, *, max_bytes: int) -> bytes:
    """All of a stream, of which `content` has come; only the beginning as soon as it is too much."""
    pieces, size = [content], len(content)
    while size <= max_bytes:
        piece = await stream.readany()
        if not piece and stream.at_eof():
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _unpacked(content: bytes, encoding: str, *, max_bytes: int, call: Call) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise HalfAnswer(f"{call.endpoint} sent an answer in an encoding that was not asked for.")
    unpack = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = unpack.decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise HalfAnswer(f"{call.endpoint} sent an answer that cannot be unpacked.") from error
    if len(plain) > max_bytes:
        raise _too_long(max_bytes, call)
    if not unpack.eof:
        raise HalfAnswer(f"{call.endpoint} sent an answer that is packed and not whole.")
    return plain


def _too_long(max_bytes: int, call: Call) -> HalfAnswer:
    return HalfAnswer(
        f"{call.endpoint} sent more than {max_bytes / 2**20:.1f} MiB for {call.model}, far more than was asked for: "
        "the rest was not read."
    )


def _failure(error: Exception, *, call: Call, time_limit: float, answer_begun: bool) -> BackendError:
    """The cases: told already; no connection at all; too slow; not HTTP; broken before or within the answer."""
    if isinstance(error, HalfAnswer):
        return error
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Unreachable(f"{call.endpoint} cannot be reached: the proxy refuses (status {error.status}).")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        reason, advice = _reason(error)
        message = f"{call.endpoint} cannot be reached at {call.address} ({reason}): {advice}"
        return Unreachable(message, refused=reason == _REFUSED)
    if isinstance(error, TimeoutError):
        return TimedOut(f"{call.endpoint} gave no whole answer within {time_limit:g} seconds.")
    if isinstance(error, HttpProcessingError | aiohttp.ClientResponseError):
        return HalfAnswer(f"{call.endpoint} sent something that is not HTTP.")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        answer_begun = answer_begun or not isinstance(error.message, str)
    when = "within its answer" if answer_begun else "before its answer"
    return ConnectionLost(f"{call.endpoint} closed the connection {when}.", before_answer=not answer_begun)


def _first_of_all(failure: BackendError, url: str, call: Call) -> BackendError:
    """A failure where nothing has come from an address yet, which may be that of another scheme."""
    if not isinstance(failure, ConnectionLost) or not url.startswith("http:"):
        return failure
    lost = f"{call.endpoint} closed the connection before its answer, and has given none yet: is it https:// there?"
    return ConnectionLost(lost, before_answer=failure.before_answer)


def _reason(error: Exception) -> tuple[str, str]:
    """Why there is no connection, and what to do about it."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "no connection to the proxy", "check HTTP_PROXY and HTTPS_PROXY, and set NO_PROXY for hosts without one."
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved", "check the base URL and the network."
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted", "name the file of the one that is to be in SSL_CERT_FILE or ca_file."
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed", "is it https:// that the server speaks?"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no answer to the connection", "is the server running?"
    if isinstance(error, OSError) and isinstance(error.__cause__, ConnectionRefusedError):
        return _REFUSED, "is the server running?"
    return "no connection", "is the server running?"
