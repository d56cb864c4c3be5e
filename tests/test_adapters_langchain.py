"""LangChain over a client. Skipped where LangChain is not installed."""

import json
from pathlib import Path

import pytest
from adapter_world import client_of, counting_server
from chat_server import ChatServer
from hypothesis import given
from hypothesis import strategies as st

from metaspo import CallFailed
from metaspo.backends import Completion, Usage

pytest.importorskip("langchain_core")
pytestmark = pytest.mark.filterwarnings("ignore")

from langchain_core.caches import InMemoryCache  # noqa: E402 - only where there is LangChain
from langchain_core.messages import HumanMessage  # noqa: E402 - only where there is LangChain

from metaspo.adapters.langchain import ChatMetaspo, _message  # noqa: E402 - only where there is LangChain


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_chats_batches_and_coroutines_are_cached(tmp_path: Path) -> None:
    with counting_server() as server, client_of(server, tmp_path) as client:
        model = ChatMetaspo(model="m", client=client, temperature=0.0, max_tokens=9)
        first = model.invoke([("system", "Be brief."), ("user", "Is it so?")])
        again = await model.ainvoke([("system", "Be brief."), ("user", "Is it so?")])
        many = model.batch([f"Is {n} so?" for n in range(5)])
    assert first.content == again.content == "yes 0"
    assert first.usage_metadata is not None
    assert first.usage_metadata["total_tokens"] == 23
    assert len({answer.content for answer in many}) == 5
    assert server.calls == 6


def test_tools_go_through(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    usage = {"prompt_tokens": 5, "completion_tokens": 5}
    choices = [{"index": 0, "finish_reason": "tool_calls", "message": message}]
    with (
        ChatServer(lambda _: "", form=lambda *_: {"choices": choices, "usage": usage}) as server,
        client_of(server, tmp_path) as client,
    ):
        answer = ChatMetaspo(model="m", client=client).bind_tools([add]).invoke("1 + 2?")
    assert [(said["name"], said["args"]) for said in answer.tool_calls] == [("add", {"a": 1, "b": 2})]
    (sent,) = server.asked
    assert json.loads(sent)["tools"][0]["function"]["name"] == "add"


def test_langchain_s_own_cache_takes_no_answer_for_another_request_s_or_another_client_s(tmp_path: Path) -> None:
    json_wanted = {"response_format": {"type": "json_object"}}
    with (
        counting_server() as server,
        counting_server("no {number}") as other_server,
        client_of(server, tmp_path) as client,
        client_of(other_server, tmp_path / "other") as other,
    ):
        models = [
            ChatMetaspo(model="m", client=where, temperature=0.0, model_kwargs=settings, cache=kept)
            for kept in [InMemoryCache()]
            for where in (client, other)
            for settings in ({}, {"seed": 1}, {"seed": 2}, {"top_p": 0.5}, json_wanted)
        ]
        answers = [model.invoke("Is it so?").content for model in models]
        assert [model.invoke("Is it so?").content for model in models] == answers
    assert len(set(answers)) == len(models)
    paths = [ChatMetaspo(model="m", client=path)._get_llm_string() for path in ("a.toml", "b.toml")]
    assert len(set(paths)) == 2
    assert not any(server.url in str(model._identifying_params) for model in models)


WRITTEN = st.one_of(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps),
    st.sampled_from(["", "{}", '{"a": 1', "[1, 2]", "null", '"x"', '{"a": NaN}', "[" * 10_000]),
)


@given(st.lists(WRITTEN, max_size=4))
def test_what_a_model_writes_for_a_tool_is_a_call_or_told_as_an_invalid_one(written: list[str]) -> None:
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "add", "arguments": arguments}}
        for number, arguments in enumerate(written)
    ]
    rest = json.dumps({"tool_calls": calls})
    completion = Completion(text="", finish_reason="tool_calls", usage=Usage(1, 1), latency=0.1, rest=rest)
    message = _message(completion)
    assert {call["id"] for call in message.tool_calls} == {
        call["id"] for call, arguments in zip(calls, written, strict=True) if is_object(arguments)
    }
    told = {call["id"]: call["args"] for call in message.invalid_tool_calls}
    assert told == {
        call["id"]: arguments for call, arguments in zip(calls, written, strict=True) if not is_object(arguments)
    }
    assert all(call["error"] for call in message.invalid_tool_calls)


def is_object(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments or "{}", strict=False), dict)
    except (ValueError, RecursionError):
        return False


def test_a_failure_is_the_client_s(tmp_path: Path) -> None:
    with counting_server() as server, client_of(server, tmp_path) as client, pytest.raises(CallFailed, match="store"):
        ChatMetaspo(model="m", client=client, model_kwargs={"store": True}).invoke("Is it so?")


async def test_n_answers_are_n_samples(tmp_path: Path) -> None:
    with counting_server() as server, client_of(server, tmp_path) as client:
        model = ChatMetaspo(model="m", client=client, temperature=1.0)
        (said,) = (await model.agenerate([[HumanMessage("Is it so?")]], n=3)).generations
        assert sorted(each.text for each in said) == ["yes 0", "yes 1", "yes 2"]
        with pytest.raises(CallFailed, match="`n` must be 1"):
            list(model.stream("Is it so?", n=3))


def test_what_is_no_field_of_ours_is_one_of_the_body(tmp_path: Path) -> None:
    """It was passed over, so that answers were other ones than asked for; a call's own words come last."""
    with counting_server() as server, client_of(server, tmp_path) as client:
        model = ChatMetaspo(model="m", client=client, top_p=0.5, stop=["a"], timeout=9, model_kwargs={"seed": 3})
        model.invoke("Is it so?")
        model.invoke("Is it so?", stop=["b"], top_p=0.1)
    said = [
        {name: json.loads(body).get(name) for name in ("top_p", "stop", "seed", "timeout")} for body in server.asked
    ]
    assert said == [
        {"top_p": 0.5, "stop": ["a"], "seed": 3, "timeout": None},
        {"top_p": 0.1, "stop": ["b"], "seed": 3, "timeout": None},
    ]
