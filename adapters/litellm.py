"""metaspo as a provider of LiteLLM: `register(client)`, and then `litellm.completion(model="metaspo/mine", ...)`.

What LiteLLM's callers get from it: the cache on disk, equal calls made once, limits that are waited for.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import litellm
from litellm import CustomLLM
from litellm.llms.custom_llm import CustomLLMError

from metaspo.adapters.chat import Connection, acomplete_all, answer_of, complete_all, errors_as, request_of, requests_of
from metaspo.backends import Completion, tool_calls_of
from metaspo.scheduling import CallFailed, Client

PROVIDER = "metaspo"


def register(client: Client | str | Path) -> None:
    """Let LiteLLM send every model "metaspo/NAME" through a client, or that of a config's path."""
    others = [entry for entry in litellm.custom_provider_map if entry["provider"] != PROVIDER]
    litellm.custom_provider_map = [*others, {"provider": PROVIDER, "custom_handler": Provider(client)}]


class Provider(CustomLLM):  # type: ignore[misc, unused-ignore] # LiteLLM is not installed where the types are checked
    """LiteLLM's handler: it is called with keywords only."""

    def __init__(self, client: Client | str | Path) -> None:
        super().__init__()
        self._connection = Connection(client)

    def completion(self, *_: object, **call: Any) -> Any:  # noqa: ANN401 - LiteLLM's
        """A chat; each of `n` answers is a sample of its own. Raises `CustomLLMError`."""
        with errors_as(_error):
            return _filled(call, complete_all(self._connection.client, requests_of(_body(call))))

    async def acompletion(self, *_: object, **call: Any) -> Any:  # noqa: ANN401 - LiteLLM's
        """The same for coroutines."""
        with errors_as(_error):
            return _filled(call, await acomplete_all(self._connection.client, requests_of(_body(call))))

    def streaming(self, *_: object, **call: Any) -> Iterator[Any]:  # noqa: ANN401 - LiteLLM's
        """A whole answer in pieces."""
        with errors_as(_error):
            completion = self._connection.client.complete(request_of(_body(call)))
        yield from _chunks(completion)

    async def astreaming(self, *_: object, **call: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - LiteLLM's
        """The same for coroutines."""
        with errors_as(_error):
            completion = await self._connection.client.acomplete(request_of(_body(call)))
        for chunk in _chunks(completion):
            yield chunk


def _body(call: dict[str, Any]) -> dict[str, Any]:
    asked = {name: value for name, value in (call.get("optional_params") or {}).items() if name != "stream"}
    return {"model": call["model"], "messages": call["messages"], **asked}


def _filled(call: dict[str, Any], completions: list[Completion]) -> Any:  # noqa: ANN401 - LiteLLM's
    """LiteLLM's response with everything that the answers hold."""
    body = answer_of(*completions, model=call["model"])
    response = call["model_response"]
    filled = litellm.ModelResponse(**{**body, "id": response.id, "created": response.created})
    response.choices, response.model = filled.choices, body["model"]
    response.usage = litellm.Usage(**body["usage"])
    return response


def _chunks(completion: Completion) -> Iterator[dict[str, Any]]:
    """A whole answer as a stream: its text, each tool call, and the end with the tokens."""
    usage = completion.usage
    total = usage.prompt_tokens + usage.completion_tokens
    piece: dict[str, Any] = {"is_finished": False, "finish_reason": "", "index": 0, "tool_use": None, "usage": None}
    if completion.text:
        yield {**piece, "text": completion.text}
    for number, call in enumerate(tool_calls_of(completion)):
        yield {**piece, "text": "", "tool_use": {"type": "function", "index": number, **call}}
    yield {
        **piece,
        "text": "",
        "is_finished": True,
        "finish_reason": completion.finish_reason,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": total,
        },
    }


def _error(failed: CallFailed) -> Exception:
    error: Exception = CustomLLMError(status_code=failed.status, message=str(failed))
    return error
