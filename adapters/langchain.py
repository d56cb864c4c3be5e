"""metaspo as a chat model of LangChain: `ChatMetaspo(model="mine", client=client)`."""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from metaspo.adapters.chat import client_from, request_of
from metaspo.backends import Completion, Request, rest_of, tool_calls_of
from metaspo.backends.loose_json import loads
from metaspo.scheduling import Client


class ChatMetaspo(BaseChatModel):  # type: ignore[misc, unused-ignore] # LangChain is not there where types are checked
    """A model of a client; tools, images and batches (`abatch`) go through.

    Attributes:
        model: as the client's lanes name it.
        client: a `Client`, or the path of a config.
        temperature, max_tokens: None for the model's own.
        model_kwargs: further fields of the body.
    """

    model: str
    client: Any
    temperature: float | None = None
    max_tokens: int | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "metaspo"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:  # noqa: ANN401 - LangChain's
        """The model with tools, of any kind that LangChain has."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> ChatResult:
        return _result(self._used().complete(self._request(messages, stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> ChatResult:
        return _result(await self._used().acomplete(self._request(messages, stop, kwargs)))

    def _used(self) -> Client:
        return client_from(self.client)

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Request:
        settings = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": stop}
        said = convert_to_openai_messages(messages)
        return request_of({"model": self.model, "messages": said, **settings, **self.model_kwargs, **kwargs})


def _result(completion: Completion) -> ChatResult:
    usage = completion.usage
    message = AIMessage(
        content=completion.text,
        tool_calls=[_tool_call(call) for call in tool_calls_of(completion)],
        additional_kwargs={"reasoning_content": completion.reasoning} if completion.reasoning else {},
        response_metadata={
            "finish_reason": completion.finish_reason,
            "model_name": completion.server,
            "logprobs": rest_of(completion).get("logprobs"),
        },
        usage_metadata={
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "input_token_details": {"cache_read": usage.cached_tokens},
        },
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {"id": call.get("id"), "name": function["name"], "args": loads(function["arguments"].encode() or b"{}")}
