"""Requests and completions carry all that chats have: nothing is dropped in silence, and old keys and records stay."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import Answer, response, serving

from metaspo.backends import (
    UNASKED,
    AccessDenied,
    BackendError,
    Completion,
    HalfAnswer,
    Message,
    OpenAICompatible,
    RateLimited,
    Request,
    RequestRejected,
    Sampling,
    Scripted,
    ServerFault,
    Usage,
    chat_events,
    read_chat_call,
    read_raw_request,
    rest_of,
    tool_calls_of,
)
from metaspo.backends.chat.answer import chat_answer
from metaspo.backends.chat.format import chat_body, raw_body
from metaspo.backends.chat.reply import read_reply
from metaspo.backends.http.errors import Call
from metaspo.cache import Entry, request_key
from metaspo.cache.record import decode_entry, encode_entry
from metaspo.scheduling.estimate import LONGEST_ANSWER, USUAL_ANSWER, TokenEstimator, size_of

OLD_KEY = "52895f7de27cb90857035575f35e0e3263e9618a2ad5754677d214c4078f3ba9"
OLD_REQUEST = Request(model="m", messages=(Message("system", "Be brief."), Message("user", "Hi é")))
OLD_COMPLETION = Completion(text="Ho", finish_reason="stop", usage=Usage(7, 2, 4), latency=0.25, server="m-1 fp")
CALL = Call("here:1", "m", "http://here:1/v1/chat/completions")
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

texts = st.text(st.characters(codec="utf-8"), max_size=8)
parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": texts})}),
)
user_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user"]), "content": st.one_of(texts, st.lists(parts))},
    optional={"name": texts},
)
tool_messages = st.fixed_dictionaries({"role": st.just("tool"), "content": texts, "tool_call_id": texts})
assistant_messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.one_of(st.none(), texts), "tool_calls": st.just([TOOL_CALL])}
)
bodies = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(st.one_of(user_messages, tool_messages, assistant_messages), min_size=1, max_size=3),
    },
    optional={
        "max_tokens": st.integers(1, 9),
        "temperature": st.sampled_from([0, 0.5, 1]),
        "top_p": st.just(0.5),
        "seed": st.integers(-1, 1),
        "stop": st.lists(texts, min_size=1, max_size=2),
        "response_format": st.just({"type": "json_object"}),
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "logprobs": st.booleans(),
        "logit_bias": st.dictionaries(texts, st.integers(-9, 9), max_size=2),
        "anything_else": st.one_of(texts, st.lists(texts)),
    },
)


def test_keys_of_plain_requests_are_those_they_always_had() -> None:
    """Written by a version without further fields: caches stay valid."""
    full = Request(
        model="m",
        messages=(Message("user", "Hi"),),
        sampling=Sampling(max_tokens=9, temperature=1.0, seed=3, stop=("x",), extra='{"logprobs":true}'),
        draw=2,
        revision="r",
        response_format='{"type":"json_object"}',
    )
    assert request_key(OLD_REQUEST) == OLD_KEY
    assert request_key(full) == "e7d1df984f023bca6465861ed14199cc4877eb9d74213fc326cd9f914747e08f"


@pytest.mark.parametrize(
    ("record", "reasoning"),
    [
        (b'1\xaa\xfb6\x08["Ho","stop",7,2,4,0.25,"m-1 fp","m","r","run",2000000000.0]', ""),
        (b'2\xd9[nN["Ho","stop",7,2,4,0.25,"m-1 fp","m","r","run",2000000000.0,{"reasoning":"hm"}]', "hm"),
    ],
)
def test_records_are_written_as_they_always_were(record: bytes, reasoning: str) -> None:
    """Records of a version without `rest` are read, and an answer without one makes the same bytes."""
    completion = OLD_COMPLETION._replace(reasoning=reasoning)
    entry = Entry(completion=completion, model="m", revision="r", run="run", created=2e9)
    assert decode_entry(OLD_KEY, record) == entry
    assert encode_entry(OLD_KEY, entry) == record


@given(bodies)
def test_a_body_that_comes_in_is_the_body_that_goes_out(body: dict[str, Any]) -> None:
    """Every field of every message and of the request, with nothing added but that no stream is wanted."""
    call = read_chat_call(body)
    sent = {name: value for name, value in chat_body(call.request).items() if name != "stream"}
    assert sent == body
    assert call.choices == 1


@given(bodies, bodies)
def test_two_bodies_share_a_key_exactly_if_they_ask_the_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    keys = [request_key(read_chat_call(body).request) for body in (left, right)]
    assert (keys[0] == keys[1]) == (json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True))


@given(bodies, st.sampled_from(UNASKED))
def test_who_asks_is_no_part_of_the_question(body: dict[str, Any], name: str) -> None:
    """Nor how the answer is to be sent; and what is null is not given."""
    told = {**body, name: {"include_usage": True}, "stream": True, "temperature": body.get("temperature"), "n": 3}
    assert read_chat_call(told).request == read_chat_call(body).request
    assert (read_chat_call(told).stream, read_chat_call(told).choices) == (True, 3)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({"include_usage": True}, True), ({"include_usage": False}, False), ({}, False), ("x", False)],
)
def test_the_usage_is_sent_behind_a_stream_where_that_is_asked_for(options: object, wanted: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}], "stream": True, "stream_options": options}
    assert read_chat_call(body).include_usage is wanted


@pytest.mark.parametrize("value", [1, 1.0, -0.0, float("nan"), float("inf"), 10**30])
def test_what_is_said_again_is_read_as_the_first_time(value: float) -> None:
    """A number that is none is not taken for nothing said, nor a whole one for another."""
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}], "temperature": value}
    said = [read_chat_call(body).request.sampling.temperature for _ in range(2)]
    assert [repr(temperature) for temperature in said] == [repr(value)] * 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"messages": []}, "messages"),
        ({"messages": {"role": "user", "content": "x"}}, "messages"),
        ({"messages": ["x"]}, "Message 0"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "Message 0"),
        ({"messages": [{"role": "user"}]}, "no `content`"),
        ({"messages": [{"role": "user", "content": 7}]}, "list of parts"),
        ({"messages": [{"role": "user", "content": {"type": "text", "text": "x"}}]}, "list of parts"),
        *(
            ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]}, "list of parts")
            for part in (7, "text", {}, {"text": "x"}, {"type": 3}, {"type": "text"}, {"type": "text", "text": 7})
        ),
        ({"model": 3}, "model"),
        ({"model": ""}, "model"),
        ({"n": 0}, "`n`"),
        ({"n": True}, "`n`"),
        ({"n": 129}, "at most"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "not both"),
        ({"max_tokens": True}, "whole number"),
        ({"max_completion_tokens": 0}, "at least 1"),
        ({"seed": 1.0}, "whole number"),
        ({"temperature": "hot"}, "number"),
        ({"top_p": True}, "number"),
        ({"stop": [1]}, "texts"),
        ({"stop": 1}, "texts"),
        ({"background": 1}, "background"),
        ({"store": True}, "store"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(change: dict[str, Any], word: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **change}
    with pytest.raises(ValueError, match=word) as caught:
        read_chat_call(body)
    assert str(caught.value).endswith(".")


def test_several_choices_in_one_call_are_never_paid_for_and_thrown_away() -> None:
    with pytest.raises(RequestRejected, match="n = 2"):
        chat_body(replace(OLD_REQUEST, sampling=Sampling(extra='{"n": 2}')))


def answered(message: dict[str, Any], reason: str = "stop", **more: object) -> Completion:
    choice = {"index": 0, "message": message, "finish_reason": reason, **more}
    body = {"id": "a1", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}
    return read_reply(200, {}, json.dumps(body).encode(), request=OLD_REQUEST, call=CALL, latency=1.0).completion


def test_an_answer_keeps_tools_probabilities_and_whatever_else_its_message_holds() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL], "annotations": [{"a": 1}]}
    completion = answered(message, "tool_calls", logprobs={"content": [1]})
    assert tool_calls_of(completion) == [TOOL_CALL]
    assert {**rest_of(completion), "usage": 0} == {
        "tool_calls": [TOOL_CALL],
        "annotations": [{"a": 1}],
        "logprobs": {"content": [1]},
        "id": "a1",
        "usage": 0,
    }
    entry = Entry(completion=completion, model="m")
    assert decode_entry(OLD_KEY, encode_entry(OLD_KEY, entry)) == entry


def test_what_a_request_says_itself_goes_before_what_its_model_is_sent_always() -> None:
    defaults = {"reasoning_effort": "none", "top_k": 5}
    request = replace(OLD_REQUEST, sampling=Sampling(temperature=0.5, extra='{"top_k": 9}'))
    bare = chat_body(request)
    assert chat_body(request, defaults=defaults) == {**bare, "reasoning_effort": "none", "top_k": 9}
    assert {**bare} == {**chat_body(request, temperature_allowed=False), "temperature": 0.5}


def test_a_plain_answer_has_no_rest() -> None:
    """Empty fields that servers add to every message are nothing to keep."""
    message: dict[str, Any] = {"role": "assistant", "content": "yes", "tool_calls": [], "refusal": None, "audio": None}
    assert answered(message, logprobs=None).rest == ""


def test_tool_calls_that_came_in_pieces_are_put_together() -> None:
    """By their index, whatever their order."""
    pieces: list[dict[str, Any]] = [
        {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a"'}},
        {"index": 1, "id": "c2", "function": {"name": "g", "arguments": ""}},
        {"index": 0, "function": {"arguments": ": 1}"}},
    ]
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    completion = read_reply(200, {}, body.encode(), request=OLD_REQUEST, call=CALL, latency=1.0).completion
    calls = [(call["id"], call["function"]) for call in tool_calls_of(completion)]
    assert calls == [("c1", {"name": "f", "arguments": '{"a": 1}'}), ("c2", {"name": "g", "arguments": ""})]


def test_an_answer_is_given_on_as_clients_expect_it() -> None:
    """Whole or as a stream, the same: text, thinking, tool calls, reason, tokens."""
    message = {"role": "assistant", "content": "yes", "reasoning_content": "hm", "tool_calls": [TOOL_CALL]}
    completions = [answered(message, "tool_calls"), OLD_COMPLETION._replace(text="no")]
    body = chat_answer(completions, model="m", answer_id="x", created=1)
    assert [choice["message"]["content"] for choice in body["choices"]] == ["yes", "no"]
    assert body["choices"][0]["message"] == message
    assert body["usage"]["total_tokens"] == 9 + 9 + 7 + 2
    events = list(chat_events(completions, model="m", answer_id="x", created=1, include_usage=True))
    texts = ["".join(choice["delta"].get("content") or "" for choice in of(events, index)) for index in (0, 1)]
    assert texts == ["yes", "no"]
    assert [call["index"] for choice in of(events, 0) for call in choice["delta"].get("tool_calls", ())] == [0]
    assert [of(events, index)[-1]["finish_reason"] for index in (0, 1)] == ["tool_calls", "stop"]
    assert events[-1]["usage"] == body["usage"]
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
    bare = list(chat_events(completions, model="m", answer_id="x", created=1, include_usage=False))
    assert [{**event, "usage": None} for event in bare] == events[:-1]
    assert not any("usage" in event for event in bare)


@pytest.mark.parametrize("text", ["yes", ""])
def test_log_probabilities_come_once_with_what_they_are_of(text: str) -> None:
    """With the text, or with the end where there is none; never with the role alone."""
    likely = {"content": [{"token": "yes", "logprob": -0.5}]}
    completions = [OLD_COMPLETION._replace(text=text, rest=json.dumps({"logprobs": likely})), OLD_COMPLETION]
    body = chat_answer(completions, model="m", answer_id="x", created=1)
    assert [choice["logprobs"] for choice in body["choices"]] == [likely, None]
    events = list(chat_events(completions, model="m", answer_id="x", created=1, include_usage=False))
    assert [event.get("logprobs") for event in of(events, 0)] == [None, likely, None][: 3 if text else 2]
    assert not any("logprobs" in event for event in of(events, 1))


def of(events: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    return [choice for event in events for choice in event["choices"] if choice["index"] == index]


EMBEDDINGS = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 3}}
COMPLETION = {"choices": [{"index": 0, "text": "yes", "finish_reason": "length", "logprobs": {"tokens": ["yes"]}}]}
OUTPUT = [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]
RESPONSE = {"status": "completed", "output": OUTPUT, "usage": {"input_tokens": 5, "output_tokens": 1}}


async def ask_raw(path: str, said: Answer) -> tuple[Completion | BackendError, str, dict[str, Any]]:
    """What comes of a request with a path, where it was sent, and its body."""
    request = read_raw_request(path, {"model": "m", "input": "a question of mine", "user": "me", "x": 1})
    async with serving(said) as (url, seen):
        backend = OpenAICompatible(url, api_key="k")
        try:
            result: Completion | BackendError = (await backend.complete(request, time_limit=30)).completion
        except BackendError as error:
            result = error
        finally:
            await backend.aclose()
        return result, seen.heads[0].split()[1], json.loads(seen.bodies[0])


@pytest.mark.parametrize(
    ("path", "body", "text", "reason", "prompt_tokens"),
    [
        ("embeddings", EMBEDDINGS, "", "stop", 3),
        ("completions", COMPLETION, "yes", "length", 13),
        ("responses", RESPONSE, "yes", "stop", 5),
    ],
)
async def test_other_paths_are_passed_through_whole(
    path: str, body: dict[str, Any], text: str, reason: str, prompt_tokens: int
) -> None:
    completion, where, sent = await ask_raw(path, response(200, body))
    assert isinstance(completion, Completion)
    assert (where, sent) == (f"/v1/{path}", {"model": "m", "input": "a question of mine", "x": 1})
    assert rest_of(completion) == body
    assert (completion.text, completion.finish_reason) == (text, reason)
    assert completion.usage.prompt_tokens == prompt_tokens or path == "completions"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("embeddings", {"data": []}),
        ("completions", {"choices": [{"text": "half of wh", "finish_reason": "abort"}]}),
        ("completions", {"choices": [{"finish_reason": "stop"}]}),
        ("responses", {"status": "in_progress", "output": []}),
        ("responses", {"status": "incomplete", "output": []}),
    ],
)
async def test_what_is_not_whole_is_not_kept_whatever_the_path(path: str, body: dict[str, Any]) -> None:
    error, _, _ = await ask_raw(path, response(200, body))
    assert isinstance(error, HalfAnswer)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, {"error": {"message": "broken"}}, ServerFault),
        (401, {"error": {"message": "who?"}}, AccessDenied),
        (200, {**EMBEDDINGS, "error": {"code": "rate_limit_exceeded", "message": "slower"}}, RateLimited),
    ],
)
async def test_a_failure_is_the_same_failure_whatever_the_path(
    status: int, body: dict[str, Any], expected: type[BackendError]
) -> None:
    """Also where an answer stands beside it."""
    error, _, _ = await ask_raw("embeddings", response(status, body))
    assert type(error) is expected


async def test_a_server_without_the_path_rejects_the_request_alone() -> None:
    """Chats with the same model go on; and no piece of the question is repeated."""
    error, _, _ = await ask_raw("embeddings", response(404, {"detail": "a question of mine was Not Found"}))
    assert type(error) is RequestRejected
    assert "/v1/embeddings" in str(error)
    assert "question of mine" not in str(error)
    assert "The server says" not in str(error)
    error, _, _ = await ask_raw("embeddings", response(404, {"error": {"message": "no such page"}}))
    assert str(error).endswith("(status 404). The server says: no such page")


@pytest.mark.parametrize(
    "body", [{"model": "m", "stream": True}, {"model": "m", "previous_response_id": "r"}, {"input": "x"}, []]
)
def test_a_raw_body_that_cannot_be_done_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        read_raw_request("responses", body)


def test_the_path_and_further_fields_of_messages_are_part_of_the_key() -> None:
    fields = {"model": "m", "input": "x"}
    requests = [read_raw_request(path, fields) for path in ("completions", "embeddings", "responses")]
    requests += [replace(requests[0], path=""), OLD_REQUEST]
    requests += [replace(OLD_REQUEST, messages=(replace(OLD_REQUEST.messages[0], extra='{"name":"a"}'),))]
    assert len({request_key(request) for request in requests}) == len(requests)
    assert raw_body(requests[0]) == fields


async def test_a_simulated_model_answers_chats_only() -> None:
    with pytest.raises(RequestRejected, match="embeddings"):
        await Scripted(["x"]).complete(read_raw_request("embeddings", {"model": "m", "input": "x"}), time_limit=9)


def test_a_request_without_a_limit_is_bounded_by_the_longest_answer_and_expected_like_its_kind() -> None:
    """Its length is learned from such answers, and it does not hold the rate limit for the longest."""
    unlimited = size_of(replace(OLD_REQUEST, sampling=Sampling(max_tokens=None)))
    estimator = TokenEstimator()
    assert estimator.upper_bound(unlimited)[1] == LONGEST_ANSWER
    assert estimator.expected(unlimited) <= USUAL_ANSWER + 10
    for _ in range(100):
        estimator.observe(unlimited, Usage(5, 50))
    assert 50 <= estimator.expected(unlimited) <= 60


def test_pictures_count_at_their_dearest_and_no_text_as_a_picture() -> None:
    """The address of one is short, what it takes is not; one that is sent whole is not taken for that many words."""
    picture = {"type": "image_url", "image_url": {"url": "data:" + "A" * 100_000}}
    said = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}]}
    size = size_of(read_chat_call(said).request)
    assert size.bytes >= 150_000
    assert size.chars < 5_000


@pytest.mark.parametrize(
    ("path", "fields", "tokens"),
    [
        ("embeddings", {"input": "x"}, 0),
        ("completions", {"prompt": ["a", "b"], "max_tokens": 7, "n": 2}, 28),
        ("completions", {"prompt": [1, 2, 3], "max_tokens": 7, "best_of": 3}, 21),
        ("responses", {"input": "x", "max_output_tokens": 9}, 9),
        ("responses", {"input": "x"}, LONGEST_ANSWER),
    ],
)
def test_the_bound_of_a_raw_request_counts_all_its_answers(path: str, fields: dict[str, Any], tokens: int) -> None:
    request = read_raw_request(path, {"model": "m", **fields})
    assert TokenEstimator().upper_bound(size_of(request))[1] == tokens


def completion_with(tokens: int | None, *, cached: int = 0) -> Completion:
    """An answer whose server has counted so many tokens of reasoning."""
    rest = "" if tokens is None else json.dumps({"usage": {"completion_tokens_details": {"reasoning_tokens": tokens}}})
    return Completion(text="yes", finish_reason="stop", usage=Usage(9, 7, cached), latency=1.0, rest=rest)


@pytest.mark.parametrize(
    ("reasoning", "details"),
    [([None], None), ([0, None], None), ([5], 5), ([5, None, 2], 7)],
)
def test_of_several_answers_everything_is_counted_once_and_the_prompt_of_each(
    reasoning: list[int | None], details: int | None
) -> None:
    """Reasoning is told where there was any."""
    answers = [completion_with(tokens, cached=3) for tokens in reasoning]
    usage = chat_answer(answers, model="m", answer_id="x", created=1)["usage"]
    assert usage["completion_tokens"] == 7 * len(answers)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 3 * len(answers)}
    assert usage.get("completion_tokens_details") == (None if details is None else {"reasoning_tokens": details})
    odd = answers[0]._replace(rest='{"usage": {"completion_tokens_details": {"reasoning_tokens": "many"}}}')
    assert "completion_tokens_details" not in chat_answer([odd], model="m", answer_id="x", created=1)["usage"]


def test_a_raw_request_is_for_a_path_there_is() -> None:
    with pytest.raises(ValueError, match=r"There is no 'images' here, only .*embeddings"):
        read_raw_request("images", {"model": "m"})
    request = read_raw_request("embeddings", {"model": "m", "input": "x"})
    assert (request.model, request.path, request.messages) == ("m", "embeddings", ())
    assert request.sampling == Sampling(max_tokens=None, temperature=None, extra='{"input":"x"}')
