"""metaspo as a provider of Inspect: `inspect eval task.py --model metaspo/mine -M client=serve.toml`.

Samples are kept apart by epoch and found again when an evaluation is started anew; retries, limits and the number of
connections are the client's.
"""

from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    messages_to_openai,
    model_output_from_openai,
    modelapi,
)
from inspect_ai.model._openai import openai_chat_tool_choice, openai_chat_tools, openai_completion_params
from inspect_ai.solver._task_state import sample_state
from inspect_ai.tool import ToolChoice, ToolInfo

from metaspo.adapters.chat import Connection, acomplete_all, answer_of, nth_of_rollout, requests_of
from metaspo.backends import Completion, Request
from metaspo.scheduling import Client, DrawCounter

AT_ONCE = 1_000  # requests that Inspect may hand over at once: the client knows what may go when


@modelapi(name="metaspo")
class Metaspo(ModelAPI):  # type: ignore[misc, unused-ignore] # Inspect is not installed where the types are checked
    """A model of a client, or of the config that `-M client=PATH` names."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        client: Client | str | Path = "",
        **model_args: Any,  # noqa: ANN401 - Inspect's
    ) -> None:
        """Raises `ValueError` where no client is given, or what belongs into its config."""
        if not client:
            raise ValueError("metaspo needs a client: -M client=serve.toml, or client= in Python.")
        if base_url or api_key or model_args:
            raise ValueError("A metaspo model takes its URL, its key and all else from the client's config.")
        super().__init__(model_name, config=config or GenerateConfig())
        self._connection = Connection(client)
        self._epochs: dict[int, DrawCounter] = {}

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """A chat; each of `num_choices` is a sample of its own. Raises `CallFailed`."""
        body = {
            "messages": await messages_to_openai(input),
            **openai_completion_params(self.model_name, config, tools=bool(tools)),
        }
        if tools:
            body["tools"], body["tool_choice"] = openai_chat_tools(tools), openai_chat_tool_choice(tool_choice)
        requests = [self._drawn(request) for request in requests_of(body)]
        return await _output(await acomplete_all(self._connection.client, requests), self.model_name)

    def max_connections(self) -> int:
        """As many as there are: the client holds what may not go."""
        return AT_ONCE

    def should_retry(self, ex: BaseException) -> bool:
        """Never: what can be tried again was."""
        return False

    def _drawn(self, request: Request) -> Request:
        """The request for the sample that the epoch, and the count of equal ones within it, name."""
        state = sample_state()
        if state is None:
            return request
        counter = self._epochs.setdefault(state.epoch, DrawCounter())
        return nth_of_rollout(request, state.epoch, counter.take(request).draw)


async def _output(completions: list[Completion], model: str) -> ModelOutput:
    body = answer_of(*completions, model=model)
    for choice in body["choices"]:
        choice["message"].setdefault("refusal", None)
    return await model_output_from_openai(body)
