"""LangChain's own standard tests of a chat model, run against ours. Skipped where they are not installed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from metaspo import Client, Completion, Lane, Request, Usage
from metaspo.backends import Reply, Simulated

pytest.importorskip("langchain_tests")
pytestmark = pytest.mark.filterwarnings("ignore")

from langchain_tests.integration_tests import ChatModelIntegrationTests  # noqa: E402 - only where they are
from langchain_tests.unit_tests import ChatModelUnitTests  # noqa: E402

from metaspo.adapters.langchain import ChatMetaspo  # noqa: E402


class Obedient(Simulated):
    """Calls a tool where it has some and has not yet heard of one, with as little as its parameters allow."""

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        tools = json.loads(request.sampling.extra or "{}").get("tools", [])
        usage = Usage(20, 5)
        if not tools or request.messages[-1].role == "tool":
            return Reply(Completion(text="yes", finish_reason="stop", usage=usage, latency=0.0, server="m"))
        function, said = tools[0]["function"], request.messages[-1].content
        call = {"name": function["name"], "arguments": json.dumps(example_of(function["parameters"], said))}
        rest = json.dumps({"tool_calls": [{"id": "c1", "type": "function", "function": call}]})
        return Reply(Completion(text="", finish_reason="tool_calls", usage=usage, latency=0.0, server="m", rest=rest))


def example_of(schema: Mapping[str, Any], said: str) -> object:
    """Something of a JSON schema, with what was said for texts."""
    match schema.get("type"):
        case "object":
            return {name: example_of(each, said) for name, each in schema.get("properties", {}).items()}
        case "integer":
            return 3
    return said


class TestUnits(ChatModelUnitTests):  # type: ignore[misc, unused-ignore] # not there where types are checked
    """Without a call."""

    @property
    def chat_model_class(self) -> type[ChatMetaspo]:
        return ChatMetaspo

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "m", "client": "serve.toml"}


class TestCalls(ChatModelIntegrationTests):  # type: ignore[misc, unused-ignore]
    """With calls, of tools too."""

    @pytest.fixture(autouse=True)
    def client(self, tmp_path: Path) -> Iterator[None]:
        with Client([Lane("m", [Obedient(lambda _: "yes")])], cache=tmp_path / "cache") as self._client:
            yield

    @property
    def chat_model_class(self) -> type[ChatMetaspo]:
        return ChatMetaspo

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "m", "client": self._client, "temperature": 0.0}
