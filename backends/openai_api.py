"""OpenAI's own API through its SDK, with the SDK's retries off: trying again is decided above."""

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio

from metaspo.backends.base import Reply, Request, ServerInfo
from metaspo.backends.base_url import parse_base_url
from metaspo.backends.chat_format import call_of, chat_body, read_reply
from metaspo.backends.errors import (
    AccessDenied,
    BackendError,
    ConnectionLost,
    HalfAnswer,
    TimedOut,
    Unreachable,
)
from metaspo.backends.http_errors import Call, error_from_response
from metaspo.backends.models import ModelFacts, model_facts
from metaspo.backends.server_info import read_models

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import AsyncOpenAI  # costs most of a second to import, so it is imported when first used

OPENAI = "https://api.openai.com/v1"


class OpenAIAPI:
    """OpenAI's API, or another one that its SDK can be pointed at. To be used within one event loop.

    Which parameters a model takes comes from its facts; a model nothing is known of gets `max_completion_tokens`
    and its temperature as asked.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str = OPENAI,
        name: str | None = None,
        models: Mapping[str, ModelFacts] | None = None,
        probe_limit: float = 10.0,
    ) -> None:
        """`api_key` defaults to $OPENAI_API_KEY; `models` as `load_models` gives them; `probe_limit` in seconds."""
        url = parse_base_url(base_url)
        self._base_url = url.api
        self._name = name or url.label
        self._key = api_key or os.environ.get("OPENAI_API_KEY", "")
        self._models = models
        self._probe_limit = probe_limit
        self._client: AsyncOpenAI | None = None

    def __repr__(self) -> str:
        return f"<OpenAIAPI {self._name}>"

    @property
    def name(self) -> str:
        """Host and port, or the name given."""
        return self._name

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Send the request once; `time_limit` in seconds, from sending to the last byte. Raises a `BackendError`."""
        call = call_of(request, endpoint=self._name, key=self._key)
        body = self._body(request)
        clock = asyncio.get_running_loop().time
        started = clock()
        status, headers, answer = await self._exchange(body, call, time_limit)
        return read_reply(status, headers, answer, request=request, call=call, latency=clock() - started)

    async def probe(self) -> ServerInfo:
        """The models the key may use. The context is in the model facts; the API does not tell it."""
        call = Call(endpoint=self._name, model="its list of models", key=self._key)
        status, headers, body = await self._exchange(None, call, self._probe_limit)
        if status != 200:
            raise error_from_response(status, headers, body, call=call)
        return read_models(body, call=call)

    async def load(self) -> Mapping[str, float]:
        """Empty: the API shows no gauges."""
        return {}

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _body(self, request: Request) -> dict[str, Any]:
        facts = model_facts(request.model, models=self._models)
        if facts is None:
            return chat_body(request, limit_parameter="max_completion_tokens")
        return chat_body(
            request,
            limit_parameter=facts.token_limit_parameter,
            temperature_allowed=facts.temperature,
            defaults=facts.extra,
        )

    def _open(self) -> "AsyncOpenAI":
        if not self._key:
            raise AccessDenied(f"There is no API key for {self._name}: set OPENAI_API_KEY.")
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(api_key=self._key, base_url=self._base_url, max_retries=0)
        return self._client

    async def _exchange(
        self, body: Mapping[str, Any] | None, call: Call, time_limit: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of a chat call, or of the list of models if `body` is None."""
        client = self._open()
        from openai import APIConnectionError, APIStatusError

        try:
            with anyio.fail_after(time_limit):  # the SDK's own limit is for each read, not for the whole
                response = await _send(client, body, time_limit)
        except APIStatusError as error:
            return error.response.status_code, error.response.headers, error.response.content
        except (APIConnectionError, TimeoutError) as error:
            raise _connection_error(error, call=call, time_limit=time_limit) from error
        return response.status_code, response.headers, response.content


async def _send(client: "AsyncOpenAI", body: Mapping[str, Any] | None, time_limit: float) -> "Response":
    if body is None:
        return (await client.models.with_raw_response.list(timeout=time_limit)).http_response
    rest = {key: value for key, value in body.items() if key not in ("model", "messages")}
    raw = await client.chat.completions.with_raw_response.create(
        model=body["model"], messages=body["messages"], extra_body=rest, timeout=time_limit
    )
    return raw.http_response


def _connection_error(error: Exception, *, call: Call, time_limit: float) -> BackendError:
    """By the names of the transport's own errors, which the SDK keeps as the cause."""
    cause = error.__cause__
    kind = type(cause).__name__
    if kind in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "ProxyError"):
        return Unreachable(f"{call.endpoint} cannot be reached: check the base URL and the network.")
    if isinstance(error, TimeoutError) or kind.endswith("Timeout"):
        return TimedOut(f"{call.endpoint} gave no whole answer within {time_limit:g} seconds.")
    if kind in ("DecodingError",):
        return HalfAnswer(f"{call.endpoint} sent an answer that cannot be decoded.")
    before_answer = "without sending a response" in str(cause)
    when = "before its answer" if before_answer else "within its answer"
    return ConnectionLost(f"{call.endpoint} closed the connection {when}.", before_answer=before_answer)
