"""OpenAI's own API: the same format, with what is known of its models."""

import os
from collections.abc import Mapping

from metaspo.backends.base import Reply, Request
from metaspo.backends.chat.format import JsonObject, TokenLimitParameter, chat_body
from metaspo.backends.errors import AccessDenied
from metaspo.backends.http.endpoint import HttpEndpoint
from metaspo.backends.models import model_facts
from metaspo.backends.openai_compatible import OpenAICompatible

OPENAI = "https://api.openai.com/v1"


class OpenAIAPI(OpenAICompatible):
    """OpenAI's API, or another one that takes its models. To be used within one event loop.

    Which parameters a model takes comes from its facts; a model nothing is known of gets `max_completion_tokens`
    and its temperature as asked.
    """

    def __init__(
        self,
        *,
        base_url: str | HttpEndpoint | None = None,
        api_key: str | None = None,
        limit_parameter: TokenLimitParameter | None = None,
    ) -> None:
        """`base_url` defaults to $OPENAI_BASE_URL, then to OpenAI's; `api_key` to $OPENAI_API_KEY.

        `limit_parameter` goes before what the model's facts say.
        """
        endpoint = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        if isinstance(endpoint, str):
            endpoint = HttpEndpoint(url=endpoint, api_key=api_key or os.environ.get("OPENAI_API_KEY", ""))
        super().__init__(endpoint)
        self._has_key = endpoint.has_key
        self._own_limit_parameter = limit_parameter

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """As its base does; raises `AccessDenied` before anything is sent if there is no key."""
        if not self._has_key:
            raise AccessDenied(f"There is no API key for {self.name}: set OPENAI_API_KEY.")
        return await super().complete(request, time_limit=time_limit)

    async def load(self) -> Mapping[str, float]:
        """Empty: the API shows no gauges."""
        return {}

    def _body(self, request: Request) -> JsonObject:
        facts = model_facts(request.model)
        if facts is None:
            return chat_body(request, limit_parameter=self._own_limit_parameter or "max_completion_tokens")
        return chat_body(
            request,
            limit_parameter=self._own_limit_parameter or facts.token_limit_parameter,
            temperature_allowed=facts.temperature,
            defaults=facts.extra,
        )
