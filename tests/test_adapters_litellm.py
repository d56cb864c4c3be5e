"""LiteLLM over a client. Skipped where LiteLLM is not installed."""

import asyncio
import os
from pathlib import Path

import pytest
from adapter_world import client_of, counting_server
from chat_server import TOO_LONG, ChatServer

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
litellm = pytest.importorskip("litellm")
pytestmark = pytest.mark.filterwarnings("ignore")

from metaspo.adapters.litellm import register  # noqa: E402 - only where there is LiteLLM

QUESTION = [{"role": "user", "content": "Is it so?"}]


def test_completions_are_cached_and_come_whole(tmp_path: Path) -> None:
    with counting_server() as server, client_of(server, tmp_path) as client:
        register(client)
        first = litellm.completion(model="metaspo/m", messages=QUESTION, temperature=0, max_tokens=9)
        again = asyncio.run(litellm.acompletion(model="metaspo/m", messages=QUESTION, temperature=0, max_tokens=9))
        streamed = litellm.completion(model="metaspo/m", messages=QUESTION, temperature=0, max_tokens=9, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert first.choices[0].message.content == again.choices[0].message.content == text == "yes 0"
    assert (first.choices[0].finish_reason, first.usage.prompt_tokens, first.usage.completion_tokens) == ("stop", 20, 3)
    assert server.calls == 1


def test_a_stream_has_its_tool_calls(tmp_path: Path) -> None:
    function = {"name": "add", "arguments": '{"a": 1}'}
    calls = [{"id": f"c{number}", "type": "function", "function": function} for number in range(2)]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choices = [{"index": 0, "finish_reason": "tool_calls", "message": message}]
    usage = {"prompt_tokens": 5, "completion_tokens": 5}
    with (
        ChatServer(lambda _: "", form=lambda *_: {"choices": choices, "usage": usage}) as server,
        client_of(server, tmp_path) as client,
    ):
        register(client)
        chunks = list(litellm.completion(model="metaspo/m", messages=QUESTION, stream=True))
    whole = litellm.stream_chunk_builder(chunks)
    said = whole.choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in said] == [
        ("c0", "add", '{"a": 1}'),
        ("c1", "add", '{"a": 1}'),
    ]
    assert whole.choices[0].finish_reason == "tool_calls"


def test_a_failure_has_its_status(tmp_path: Path) -> None:
    with counting_server() as server, client_of(server, tmp_path) as client:
        server.refuse = lambda _request, _before: TOO_LONG
        register(client)
        with pytest.raises(Exception, match="maximum context length") as caught:
            litellm.completion(model="metaspo/m", messages=QUESTION, num_retries=0)
    assert getattr(caught.value, "status_code", None) == 400


def test_n_answers_are_n_samples(tmp_path: Path) -> None:
    """And the same ones in a second run; a stream of several is refused."""
    with counting_server() as server:
        for _ in range(2):
            with client_of(server, tmp_path) as client:
                register(client)
                whole = litellm.completion(model="metaspo/m", messages=QUESTION, temperature=1, n=3)
                said = [choice.message.content for choice in whole.choices]
                assert (sorted(said), whole.usage.completion_tokens) == (["yes 0", "yes 1", "yes 2"], 9)
                with pytest.raises(Exception, match="`n` must be 1"):
                    list(litellm.completion(model="metaspo/m", messages=QUESTION, temperature=1, n=3, stream=True))
    assert server.calls == 3
