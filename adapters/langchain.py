"""metaspo as a chat model of LangChain: `ChatMetaspo(model="mine", client=client)`."""

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, model_validator

from metaspo.adapters.chat import acomplete_all, client_from, complete_all, config_of, request_of, requests_of
from metaspo.backends import Completion, rest_of, tool_calls_of
from metaspo.backends.http.loose_json import loads
from metaspo.scheduling import Client

OF_THE_CLIENT = ("timeout", "max_retries")  # that LangChain's models may be given: limits and retries are the client's


class ChatMetaspo(BaseChatModel):  # type: ignore[misc, unused-ignore] # LangChain is not there where types are checked
    """A model of a client; tools, images and batches (`abatch`) go through.

    Attributes:
        model: as the client's lanes name it.
        client: a `Client`, or the path of a config.
        temperature, max_tokens: None for the model's own.
        model_kwargs: further fields of the body, which may also be given by themselves (`top_p=0.9`).
    """

    model: str
    client: Any
    temperature: float | None = None
    max_tokens: int | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_further_fields(cls, given: dict[str, Any]) -> dict[str, Any]:
        further = {name: value for name, value in given.items() if name not in {*cls.model_fields, *OF_THE_CLIENT}}
        rest = {name: value for name, value in given.items() if name not in further}
        return {**rest, "model_kwargs": {**(given.get("model_kwargs") or {}), **further}}

    @property
    def _llm_type(self) -> str:
        return "metaspo"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """All that answers follow from: by these LangChain's cache tells models apart."""
        return {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "model_kwargs": self.model_kwargs,
            "client": _said(self.client),
        }

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: Any = None,  # noqa: ANN401 - a name, "any", a bool, or as OpenAI has it
        strict: bool | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> Any:  # noqa: ANN401 - LangChain's
        """The model with tools, of any kind that LangChain has."""
        chosen = {} if tool_choice is None else {"tool_choice": _tool_choice(tool_choice)}
        return self.bind(tools=[convert_to_openai_tool(tool, strict=strict) for tool in tools], **chosen, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> ChatResult:
        return _result(complete_all(self._used(), requests_of(self._body(messages, stop, kwargs))))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> ChatResult:
        return _result(await acomplete_all(self._used(), requests_of(self._body(messages, stop, kwargs))))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> Iterator[ChatGenerationChunk]:
        """A whole answer as one chunk, as it comes from the cache."""
        chunk = _chunk(self._used().complete(request_of(self._body(messages, stop, kwargs))))
        if run_manager is not None:
            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> AsyncIterator[ChatGenerationChunk]:
        """The same for coroutines."""
        chunk = _chunk(await self._used().acomplete(request_of(self._body(messages, stop, kwargs))))
        if run_manager is not None:
            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        yield chunk

    def _used(self) -> Client:
        return client_from(self.client)

    def _body(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        settings = {"temperature": self.temperature, "max_tokens": self.max_tokens, **self.model_kwargs}
        said = convert_to_openai_messages(messages)
        return {"model": self.model, "messages": said, **settings, **({"stop": stop} if stop else {}), **kwargs}


def _said(client: Client | str | Path) -> str:
    """A config's path, or a digest of where a client asks: its URLs are not for traces."""
    if isinstance(client, Client):
        return hashlib.sha256(repr(sorted(client.endpoints.items())).encode()).hexdigest()[:16]
    return config_of(client)


def _result(completions: list[Completion]) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=_message(completion)) for completion in completions])


def _message(completion: Completion) -> AIMessage:
    valid, invalid = [], []
    for call in tool_calls_of(completion):
        named, arguments = {"id": call.get("id"), **_named(call)}, _arguments(call)
        if isinstance(arguments, dict):
            valid.append({**named, "args": arguments})
        else:
            invalid.append({**named, "error": arguments, "type": "invalid_tool_call"})
    return AIMessage(tool_calls=valid, invalid_tool_calls=invalid, **_fields(completion))


def _chunk(completion: Completion) -> ChatGenerationChunk:
    calls = [
        {"id": call.get("id"), "index": index, **_named(call), "type": "tool_call_chunk"}
        for index, call in enumerate(tool_calls_of(completion))
    ]
    return ChatGenerationChunk(
        message=AIMessageChunk(tool_call_chunks=calls, chunk_position="last", **_fields(completion))
    )


def _fields(completion: Completion) -> dict[str, Any]:
    """What messages and chunks have in common."""
    usage = completion.usage
    return {
        "content": completion.text,
        "additional_kwargs": {"reasoning_content": completion.reasoning} if completion.reasoning else {},
        "response_metadata": {
            "finish_reason": completion.finish_reason,
            "model_name": completion.server,
            "logprobs": rest_of(completion).get("logprobs"),
        },
        "usage_metadata": {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "input_token_details": {"cache_read": usage.cached_tokens},
        },
    }


def _arguments(call: dict[str, Any]) -> dict[str, Any] | str:
    """What a model has written for a tool, or why it cannot be taken."""
    try:
        arguments = loads((_named(call)["args"] or "{}").encode("utf-8", "surrogatepass"))
    except ValueError as error:
        return f"The arguments are no JSON: {error}"
    return arguments if isinstance(arguments, dict) else "The arguments are no JSON object."


def _named(call: dict[str, Any]) -> dict[str, Any]:
    return {"name": call["function"]["name"], "args": call["function"]["arguments"]}


def _tool_choice(said: object) -> object:
    """LangChain's words for which tool is to be called, in OpenAI's."""
    match said:
        case "any" | True:
            return "required"
        case False:
            return "none"
        case str() if said not in ("auto", "none", "required"):
            return {"type": "function", "function": {"name": said}}
    return said
