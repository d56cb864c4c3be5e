"""Any server that speaks OpenAI's chat format: vLLM, llama.cpp, hosted APIs and gateways."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from metaspo.backends.base import Message, Reply, Request, ServerInfo
from metaspo.backends.chat.format import JsonObject, TokenLimitParameter, chat_body, encoded, raw_body
from metaspo.backends.chat.raw_reply import read_raw_reply
from metaspo.backends.chat.reply import read_reply
from metaspo.backends.errors import BackendError
from metaspo.backends.http.base_url import parse_base_url, path_beside
from metaspo.backends.http.endpoint import HttpEndpoint
from metaspo.backends.http.errors import Call, error_from_response
from metaspo.backends.http.prometheus import parse_load
from metaspo.backends.http.server_info import read_models

if TYPE_CHECKING:
    from metaspo.backends.http.exchange import HttpExchange

_MAX_OF_PAGE = 8 << 20  # bytes of a list of models, or of gauges ...
_PAGE_LIMIT = 10.0  # ... and seconds for one
_MIN_ROOM = 1 << 20  # bytes of an answer, whatever was asked for: thinking may be counted apart ...
_ROOM_PER_TOKEN = 4 << 10  # ... and log-probabilities come to some kilobytes a token
_MAX_ROOM = 128 << 20  # where nothing says how long an answer may be, or it is one to many questions
_NOT_THERE = (404, 405)
_IS_TELLING = (*range(300, 400), 401, 502, 503, 504)  # of whether it can be reached, and is there at all


class OpenAICompatible:
    """One endpoint of an OpenAI-compatible server. To be used within one event loop.

    Each request is sent once: no retries, no limit on the number in flight. (Only where the address leaves open
    whether "/v1" belongs to it, and there is nothing, it is sent to the other one.) Cancelling a call closes its
    connection, which tells vLLM and llama.cpp to stop working on it.
    """

    def __init__(
        self,
        base_url: str | HttpEndpoint,
        *,
        api_key: str | None = None,
        name: str | None = None,
        limit_parameter: TokenLimitParameter = "max_tokens",
    ) -> None:
        """`base_url` alone or as a whole endpoint, with headers and more; `api_key` goes with a URL alone.

        Raises `ValueError` for a URL that is none.
        """
        endpoint = HttpEndpoint(url=base_url, api_key=api_key or "") if isinstance(base_url, str) else base_url
        self._url = parse_base_url(endpoint.url)
        self._chat_url, self._other_chat_url = self._url.chat, self._url.other_chat
        self._name = name or (f"{self._url.label} ({endpoint.model})" if endpoint.model else self._url.label)
        self._secrets = endpoint.secrets
        self._limit_parameter = limit_parameter
        self._time_limit = endpoint.time_limit
        self._endpoint = endpoint
        self._opened: HttpExchange | None = None
        self._in_flight = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}, {self._in_flight} in flight>"

    @property
    def name(self) -> str:
        """Host and port, with its own name for the model if it has one; or the name given."""
        return self._name

    @property
    def own_model(self) -> str:
        """What it is asked for in place of the model that a request names; "" for that one."""
        return self._endpoint.model

    @property
    def base_url(self) -> str:
        """The address in use, with its "/v1"."""
        return self._url.api

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Send the request once; `time_limit` in seconds, from sending to the last byte. Raises a `BackendError`."""
        limit, read = request.sampling.max_tokens, read_reply
        time_limit = min(time_limit, self._time_limit)
        room = _MAX_ROOM if limit is None else _MIN_ROOM + _ROOM_PER_TOKEN * limit
        url, prompts = self._chat_url, request.messages
        if not request.path:
            body = self._body(request)
        else:
            url, prompts = path_beside(url, request.path), (Message("user", request.sampling.extra),)
            body, read = raw_body(request), read_raw_reply
        if model := self._endpoint.model:
            body["model"] = model
        sent = encoded(body)
        call = Call(self._name, model or request.model, url, self._secrets, prompts)
        http, clock = self._http, asyncio.get_running_loop().time  # first, for the first call imports aiohttp
        started = clock()
        self._in_flight += 1
        try:
            response = await http.send(call.url, sent, call=call, time_limit=time_limit, max_bytes=room)
            if response.status in _NOT_THERE:
                chat = self._other_chat_url or self._chat_url
                url = path_beside(chat, request.path) if request.path else chat
                if url != call.url:
                    left = time_limit - (clock() - started)
                    other_call = call._replace(url=url)
                    retried = await http.send(url, sent, call=other_call, time_limit=left, max_bytes=room)
                    if retried.status not in _NOT_THERE:
                        response, call, self._chat_url, self._other_chat_url = retried, other_call, chat, ""
        finally:
            self._in_flight -= 1
        return read(
            response.status, response.headers, response.body, request=request, call=call, latency=clock() - started
        )

    async def probe(self) -> ServerInfo:
        """The models the server lists, and its context if it says so (vLLM and llama.cpp do).

        A server may keep no list, or not show it, and answer chat calls all the same: then nothing is known of it.
        """
        call = self._call("its list of models", self._url.models)
        response = await self._http.send(call.url, None, call=call, time_limit=_PAGE_LIMIT, max_bytes=_MAX_OF_PAGE)
        if response.status in _IS_TELLING:
            raise error_from_response(*response, call=call)
        return read_models(response.body) if response.status == 200 else ServerInfo(models=())

    async def load(self) -> Mapping[str, float]:
        """Gauges from the server's `/metrics` page; empty where there is none to be had."""
        call = self._call("its metrics", f"{self._url.root}/metrics")
        try:
            response = await self._http.send(call.url, None, call=call, time_limit=_PAGE_LIMIT, max_bytes=_MAX_OF_PAGE)
        except BackendError:
            return {}
        return parse_load(response.body.decode(errors="replace")) if response.status == 200 else {}

    async def is_healthy(self, *, time_limit: float) -> bool:
        """Whether the server's `/health` says so within so many seconds, as vLLM's does once it is ready."""
        call = self._call("its health", f"{self._url.root}/health")
        try:
            response = await self._http.send(call.url, None, call=call, time_limit=time_limit, max_bytes=_MAX_OF_PAGE)
        except BackendError:
            return False
        return response.status == 200

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        if self._opened is not None:
            await self._opened.aclose()

    @property
    def _http(self) -> "HttpExchange":
        if self._opened is None:
            from metaspo.backends.http.exchange import HttpExchange  # with aiohttp, for which a replay does not wait

            self._opened = HttpExchange(self._endpoint)
        return self._opened

    def _call(self, what: str, url: str) -> Call:
        return Call(self._name, what, url, self._secrets)

    def _body(self, request: Request) -> JsonObject:
        return chat_body(request, limit_parameter=self._limit_parameter)
