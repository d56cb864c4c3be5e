"""Answers in every shape that servers give them: what is whole is read, what is not is never taken for it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaspo.backends import (
    CONTENT_FILTER,
    AccessDenied,
    BackendError,
    Completion,
    HalfAnswer,
    Message,
    Overloaded,
    RateLimited,
    Request,
    Sampling,
    ServerFault,
)
from metaspo.backends.chat.answer import chat_answer, tool_calls_of
from metaspo.backends.chat.reply import read_reply
from metaspo.backends.http.errors import Call
from metaspo.backends.http.loose_json import loads
from metaspo.backends.printable import printable
from metaspo.cache import request_key
from metaspo.engine.cut_tags import with_cut_tag

REQUEST = Request(model="m", messages=(Message("user", "Is it so?"),), sampling=Sampling(max_tokens=50))
CALL = Call("here:1", "m", "http://here:1/v1/chat/completions")


def read(body: object, *, status: int = 200, request: Request = REQUEST) -> Completion:
    """What is made of a body: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_reply(status, {}, content, request=request, call=CALL, latency=1.0).completion


def told(body: object, *, status: int = 200) -> Completion | str:
    """The same, or the sentence of the error."""
    try:
        return read(body, status=status)
    except BackendError as error:
        return str(error)


def answer(message: object, finish_reason: object = "stop", **more: object) -> dict[str, Any]:
    """The body of an answer with one choice, whose reason to stop is left out if it is `...`."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, **more}
    if finish_reason is ...:
        del choice["finish_reason"]
    return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}


def said(content: object, finish_reason: object = "stop", **more: object) -> dict[str, Any]:
    """The same with a message that has a content."""
    return answer({"role": "assistant", "content": content, **more}, finish_reason)


WHOLE = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "STOP": "stop",
    "COMPLETE": "stop",
    "length": "length",
    "MAX_TOKENS": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": CONTENT_FILTER,
    "SAFETY": CONTENT_FILTER,
    "PROHIBITED_CONTENT": CONTENT_FILTER,
    "RECITATION": CONTENT_FILTER,
    "content_filter: RECITATION": CONTENT_FILTER,
    "refusal": CONTENT_FILTER,
}


@pytest.mark.parametrize(("reason", "ours"), WHOLE.items())
def test_a_known_reason_to_stop_makes_an_answer_whole(reason: str, ours: str) -> None:
    """In our word for it, whoever says it."""
    assert read(said("yes", reason)).finish_reason == ours


@given(st.text().filter(lambda reason: reason.lower() not in {known.lower() for known in WHOLE}))
def test_no_other_reason_does(reason: str) -> None:
    """A list of those that are known to be whole, not of those that are known not to be."""
    known_too = {"complete", "completed", "end", "max_output_tokens", "tool_call", "tool_use", "content_filtered"}
    known_too |= {"blocklist", "spii", "image_safety", "sensitive", "guardrail_intervened", "model_armor"}
    known_too |= {"image_prohibited_content", "image_recitation"}
    kind, colon, _ = reason.lower().partition(":")  # of what is filtered a server may say why
    if kind not in known_too and not (colon and kind in {known.lower() for known in WHOLE}):
        with pytest.raises(HalfAnswer):
            read(said("yes", reason))


@pytest.mark.parametrize("reason", [None, ...])
def test_some_text_without_any_reason_is_whole(reason: object) -> None:
    """koboldcpp and others never give one; only nothing at all is not an answer then."""
    assert read(said("yes", reason)).finish_reason == "stop"
    for nothing in ("", None):
        with pytest.raises(HalfAnswer):
            read(said(nothing, reason))
    long = answer({"content": "yes " * 30}, reason) | {"usage": {"prompt_tokens": 9, "completion_tokens": 50}}
    assert read(long).finish_reason == "length", "as many tokens as were allowed"


@pytest.mark.parametrize("status", [200, 201, 202, 203])
def test_every_status_of_success_is_one(status: int) -> None:
    """Some gateways make a completion a thing created."""
    assert read(said("yes"), status=status).text == "yes"


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "yes"}], "yes", ""),
        ([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}], "yes", ""),
        (["y", "es"], "yes", ""),
        ({"type": "text", "text": "yes"}, "yes", ""),
        ([{"type": "output_text", "text": "yes", "annotations": []}], "yes", ""),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}], "yes",
         "hm"),
        ([{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "yes"}], "yes", "hm"),
        ([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "yes"}], "yes", "hm"),
        ([{"type": "refusal", "refusal": "I won't"}, {"type": "text", "text": "yes"}], "yes", ""),
        ([], "", ""),
        ([3, None, {"type": "image_url", "image_url": {"url": "x"}}], "", ""),
    ],
)  # fmt: skip
def test_a_content_in_parts_is_the_text_of_its_parts(content: object, text: str, reasoning: str) -> None:
    """Mistral's thinking models and OpenRouter; what is thought is no part of the answer."""
    completion = read(said(content))
    assert (completion.text, completion.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    "body",
    [
        answer(None, "SAFETY"),
        answer(None, "PROHIBITED_CONTENT"),
        answer({"role": "assistant"}, "RECITATION"),
        {"choices": [{"index": 0, "finish_reason": "content_filter: PROHIBITED_CONTENT"}]},
        answer({"role": "assistant", "content": None}, "content_filter"),
        answer({"role": "assistant", "content": "half of wh"}, "SAFETY"),
        {"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
        {"choices": None, "prompt_feedback": {"block_reason": "SAFETY"}},
    ],
)
def test_a_refusal_without_a_message_is_a_refusal(body: object) -> None:
    """Gemini's kind: asking again costs the same and ends the same, eight times and two minutes long."""
    completion = read(body)
    assert (completion.text, completion.finish_reason) == ("", CONTENT_FILTER)


def test_an_answer_that_was_all_thinking_is_whole_and_empty() -> None:
    """The limit was reached before the answer began: also where no message came."""
    for body in (answer(None, "MAX_TOKENS"), said(None, "length"), said("<think>Let me see", "length")):
        completion = read(body)
        assert (completion.text, completion.finish_reason) == ("", "length")


@pytest.mark.parametrize("content", [None, "", "Let me look that up."])
def test_a_call_of_a_tool_is_a_whole_answer(content: str | None) -> None:
    """Paid for once, and not again as many times as there are attempts."""
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    completion = read(said(content, "tool_calls", tool_calls=calls))
    assert (completion.text, completion.finish_reason) == (content or "", "tool_calls")


def test_what_calls_a_tool_and_says_nothing_is_passed_on_without_a_content() -> None:
    """As providers write it: some clients take an empty text for an answer."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for content, passed_on in (("", None), (None, None), ("Let me look.", "Let me look.")):
        completion = read(answer({"content": content, "tool_calls": [call]}, "tool_calls"))
        (choice,) = chat_answer([completion], model="m", answer_id="1", created=0)["choices"]
        assert choice["message"] == {"role": "assistant", "content": passed_on, "tool_calls": [call]}


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "yes", "reasoning_content": "hm"}, "yes", "hm"),
        ({"content": "yes", "reasoning": "hm"}, "yes", "hm"),
        ({"content": "yes", "reasoning_content": "hm", "reasoning": "hm"}, "yes", "hm"),
        ({"content": "yes", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, "yes", "hm"),
        ({"content": None, "reasoning_content": "hm"}, "", "hm"),
        ({"content": "<think>hm</think>yes", "reasoning_content": None}, "yes", "hm"),
    ],
)
def test_thinking_in_a_field_of_its_own_is_kept_apart(message: object, text: str, reasoning: str) -> None:
    """DeepSeek's, OpenRouter's and vLLM's names for it."""
    completion = read(answer(message))
    assert (completion.text, completion.reasoning) == (text, reasoning)


def test_thinking_counts_among_what_the_texts_need() -> None:
    """A server that counts the visible answer only is not believed."""
    body = answer({"content": "yes", "reasoning_content": "hm " * 1000}) | {"usage": {"completion_tokens": 1}}
    assert read(body).usage.completion_tokens >= 3000 / 128


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"choices": [{"finish_reason": "stop", "message": {"content": "na\xc3 \xff"}}]}', "na\ufffd \ufffd"),
        (b'{"choices": [{"finish_reason": "stop", "message": {"content": "a\\ud83d"}}]}', "a\ufffd"),
        (b'{"choices": [{"finish_reason": "stop", "message": {"content": "\\ud83d\\ude00"}}]}', "\U0001f600"),
        (b'\xef\xbb\xbf {"choices": [{"finish_reason": "stop", "message": {"content": "a"}}]}', "a"),
        (b'{"choices": [{"finish_reason": "stop", "logprobs": NaN, "message": {"content": "a"}}]}', "a"),
        (b'{"choices": [{"finish_reason": "stop", "x": -Infinity, "message": {"content": "a"}}]}', "a"),
        (b'{"choices": [{"finish_reason": "stop", "message": {"content": "a\nb"}}]}', "a\nb"),
        (b'[{"choices": [{"finish_reason": "stop", "message": {"content": "a"}}]}]', "a"),
        (b'{"choices": [{"finish_reason": "stop", "text": "a"}]}', "a"),
    ],
)
def test_what_is_nearly_json_is_read(body: bytes, text: str) -> None:
    """A character cut in two by the token limit does not make an answer unreadable, nor a file later."""
    assert read(body).text == text
    read(body).text.encode()


STREAM = b"""\
: OPENROUTER PROCESSING

data: {"model": "m-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}

event: message
data: {"choices": [{"index": 0, "delta": {"reasoning_content": "h"}}]}
data: {"choices": [{"index": 0, "delta": {"reasoning_content": "m"}}]}
data: {"choices": [{"index": 0, "delta": {"content": "y"}}]}\r
data: {"choices": [{"index": 0, "delta": {"content": "es"}, "finish_reason": null}]}

data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}

data: [DONE]
"""


def test_a_stream_that_nobody_asked_for_is_put_together() -> None:
    """Texts joined, the last reason and the usage taken."""
    completion = read(STREAM)
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("yes", "hm", "stop")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (7, 5)
    assert completion.server == "m-1"


def test_an_event_may_go_over_several_lines() -> None:
    """As the standard has it: the lines of an event are one text."""
    events = [line.replace(b', "', b',\ndata: "') for line in STREAM.splitlines() if line]
    assert read(b"\n\n".join(events) + b"\n") == read(STREAM)
    with pytest.raises(BackendError):
        read(b"\n\n".join(events[:-3]) + b'\n\ndata: {"choices": [\n\n' + events[-3])
    torn = b'data: {"choices": [{"delta": {"content": "yes"},\n%sdata: "finish_reason": "stop"}]}\n\n'
    assert read(torn % b"").text == "yes"
    with pytest.raises(BackendError):
        read(torn % b"\n")


def chunks(*choices: object) -> bytes:
    """A stream of these first choices, which says that it is at its end."""
    events = [json.dumps({"choices": [choice]}) for choice in choices]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([(0, "a", "f", "1"), (1, "b", "g", "2"), (0, None, None, "3")], ["a f 13", "b g 2"]),
        ([(0, "a", "f", "1"), (0, "a", "", "2")], ["a f 12"]),
        ([(None, "a", "f", "1"), (None, None, None, "2"), (None, "b", "g", "3"), (None, "b", None, "4")],
         ["a f 12", "b g 34"]),
        ([(None, None, "f", "1")], ["- f 1"]),
    ],
)  # fmt: skip
def test_a_piece_of_a_tools_call_belongs_to_that_of_its_index_or_else_of_its_id(
    pieces: list[tuple[int | None, str | None, str | None, str]], calls: list[str]
) -> None:
    body = chunks(
        *(
            {"delta": {"tool_calls": [{"index": at, "id": id_, "function": {"name": name, "arguments": text}}]}}
            for at, id_, name, text in pieces
        ),
        {"delta": {}, "finish_reason": "tool_calls"},
    )
    found = [(call.get("id") or "-", call["function"]) for call in tool_calls_of(read(body))]
    assert [f"{id_} {function['name']} {function['arguments']}" for id_, function in found] == calls


def test_a_stream_without_any_text_is_an_answer_if_it_says_why_it_ended() -> None:
    ended = read(chunks({"delta": {}, "finish_reason": "length"}))
    assert (ended.text, ended.finish_reason) == ("", "length")
    for nothing in (chunks({"delta": {}}), chunks({"delta": {}}).replace(b'{"delta": {}}', b"")):
        with pytest.raises(HalfAnswer, match="without a choice"):
            read(nothing)
    with pytest.raises(HalfAnswer, match="finish reason: unfinished stream"):
        read(chunks({"delta": {"content": "yes"}}).replace(b"data: [DONE]", b""))


BESIDE = [
    b'data: {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}',
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": null}]}',
    b'data: {"choices": null, "usage": null, "model": null}',
    b"data: {}",
    b'data: "ping"',
    b"data:",
    b": keep-alive",
    b"event: ping",
    b"",
]


@given(st.lists(st.tuples(st.integers(0, STREAM.count(b"\n") - 1), st.sampled_from(BESIDE)), max_size=6))
def test_what_says_nothing_of_the_answer_may_stand_anywhere_in_a_stream(beside: list[tuple[int, bytes]]) -> None:
    lines = STREAM.splitlines()
    for position, line in beside:
        lines.insert(position, line)
    assert read(b"\n".join(lines)) == read(STREAM)


def test_of_several_choices_the_first_is_the_one_of_the_lowest_index() -> None:
    """They are answered in any order, and so are their pieces."""
    other = {"index": 1, "message": {"content": "no"}, "finish_reason": "length"}
    (first,) = said("yes")["choices"]
    assert read({"choices": [other, first]}).text == read({"choices": [first, other]}).text == "yes"
    assert read({"choices": [other]}).text == "no", "some count from 1"
    pieces = [line.replace(b'"index": 0', b'"index": 1').replace(b'"y', b'"N') for line in STREAM.splitlines()[:-1]]
    mixed = [line for pair in zip(pieces, STREAM.splitlines(), strict=False) for line in pair]
    assert read(b"\n\n".join([*mixed, b"data: [DONE]"])) == read(STREAM)
    assert read(b"\n\n".join([*pieces, b"data: [DONE]"])).text == "Nes"


def test_an_index_that_is_no_number_tells_nothing() -> None:
    """A server that writes it as a text, or none, has one choice all the same."""
    for index in (b'"0"', b"null", b"[0]"):
        assert read(STREAM.replace(b'"index": 0', b'"index": ' + index)) == read(STREAM)
    (first,) = said("yes")["choices"]
    assert read({"choices": [first | {"index": "0"}, first | {"index": "1"}]}).text == "yes"


def test_a_whole_answer_may_be_called_a_piece_of_a_stream_but_none_of_several() -> None:
    def piece(content: str, reason: str | None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": reason}]}

    assert read(piece("yes", "stop")).text == "yes"
    for content, reason in (("y", None), ("", "stop")):
        with pytest.raises(HalfAnswer):
            read(piece(content, reason))


def test_a_stream_is_whole_wherever_it_says_so() -> None:
    """By a reason to stop, or by its last event, and not if it just ends."""
    lines = STREAM.splitlines(keepends=True)
    without_reason = b"".join(line for line in lines if b'"stop"' not in line)
    assert read(without_reason).text == "yes"
    assert read(STREAM.replace(b"data: [DONE]\n", b"")).text == "yes"
    for end in range(len(lines) - 8):
        with pytest.raises(BackendError):
            read(b"".join(lines[:end]))
    with pytest.raises(HalfAnswer):
        read(without_reason.replace(b"data: [DONE]\n", b""))


def test_a_stream_that_ends_with_an_error_is_that_error() -> None:
    """Told after the status was sent."""
    broken = STREAM.partition(b'data: {"choices": [{"index": 0, "delta": {}')[0]
    with pytest.raises(RateLimited, match="slow"):
        read(broken + b'data: {"error": {"code": 429, "message": "slow please"}}\n\ndata: [DONE]\n')


def test_a_piece_of_a_stream_may_be_a_whole_message() -> None:
    """It stands for the pieces that would have been."""
    whole = {"choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}
    assert read(f"data: {json.dumps(whole)}\n\ndata: [DONE]\n".encode()).text == "yes"


FAILURES: list[tuple[object, type[BackendError], str]] = [
    ({"error": {"code": 429, "message": "Take it slow."}}, RateLimited, "Take it slow"),
    ({"error": {"code": "429", "message": "Take it slow."}}, RateLimited, "Take it slow"),
    ({"error": {"status": 503, "message": "Busy."}}, Overloaded, "Busy"),
    ({"error": "it broke"}, ServerFault, "it broke"),
    ([{"error": {"code": 429, "message": "Take it slow."}}], RateLimited, "Take it slow"),
    ({"detail": "it broke"}, ServerFault, "it broke"),
    ({"message": "it broke"}, ServerFault, "it broke"),
    ({"object": "error", "message": "it broke", "code": 50001}, ServerFault, "it broke"),
    (answer(None, "error", error={"code": 502, "message": "upstream gone"}), ServerFault, "upstream gone"),
    (answer({"content": ""}, None, error={"code": 429, "message": "Take it slow."}), RateLimited, "Take it slow"),
    ({"error": {"code": "invalid_api_key", "message": "Who are you?"}}, AccessDenied, "Who are you"),
    (b"<html><head><title>Sign in</title><style>x{}</style></head><body>Please <b>sign</b> in.</body></html>",
     HalfAnswer, "Sign in. Please sign in"),
    (b"upstream connect error", HalfAnswer, "upstream connect error"),
    ([], HalfAnswer, "no JSON object"),
    ("yes", HalfAnswer, "no JSON object"),
    ({"choices": [3]}, HalfAnswer, "without a choice"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "words"), FAILURES)
def test_a_failure_within_a_success_is_told_in_the_servers_words(
    body: object, kind: type[BackendError], words: str
) -> None:
    """Not just as half an answer."""
    with pytest.raises(BackendError) as caught:
        read(body)
    assert type(caught.value) is kind
    assert words in str(caught.value)


def test_an_answer_that_is_broken_off_is_told_with_the_servers_reason_if_there_is_one() -> None:
    words = "here:1 broke off an answer of m before its end"
    assert told(said("yes", "odd")) == f"{words} (finish reason: odd)."
    assert told(said(None, None)) == f"{words}."


@pytest.mark.parametrize(("details", "kept"), [({}, False), ({"a": 0, "b": None}, False), ({"a": 3, "b": 0}, True)])
def test_what_was_counted_apart_is_kept_as_the_server_said_it(details: dict[str, object], kept: bool) -> None:
    """With what tells which answer it was, and nothing that says nothing."""
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "completion_tokens_details": details}
    rest = read(said("yes") | {"usage": usage, "id": "x", "service_tier": ""}).rest
    assert rest == (json.dumps({"id": "x", "usage": usage}, separators=(",", ":")) if kept else "")


def test_an_answer_stays_as_the_server_gave_it_where_a_stop_string_ended_it() -> None:
    """With which string that was, where the server says so: another program may have asked."""
    request = Request(model="m", messages=(), sampling=Sampling(stop=("</answer>",)))
    for name in ("stop_reason", "matched_stop"):
        completion = read(answer({"content": "<answer>B"}, "stop", **{name: "</answer>"}), request=request)
        assert completion.text == "<answer>B"
        (choice,) = chat_answer([completion], model="m", answer_id="", created=0)["choices"]
        assert choice["stop_reason"] == "</answer>"
        assert choice["message"] == {"role": "assistant", "content": "<answer>B"}


@pytest.mark.parametrize("name", ["stop_reason", "matched_stop"])
def test_that_a_token_ended_an_answer_is_kept_where_a_tag_is_open_and_only_there(name: str) -> None:
    """The tag was cut by no stop string then; most answers need nothing beside their text."""
    (cut, *others) = (
        read(answer({"content": text}, "stop", **{name: 2})) for text in ("So: <answer>B", "<answer>B</answer>", "B")
    )
    assert with_cut_tag(cut, ("</answer>",), tag="answer") == "So: <answer>B"
    assert [other.rest for other in others] == ["", ""]


def test_none_of_this_is_in_the_key_of_a_request() -> None:
    """What was paid for under earlier versions is still found."""
    request = Request(model="m", messages=(Message("system", "Be brief."), Message("user", "Is it so?")))
    assert request_key(request) == "90be5f394afb4f377cc44d14de1082b3034ac09ecf479da7351ddc7d93b84243"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["message", "finish_reason", "error", "text", "stop_reason", "delta"])
PARTS = st.sampled_from(["content", "refusal", "reasoning", "reasoning_content", "thinking", "tool_calls", "type"])
CHOICES = st.dictionaries(FIELDS, JSON | st.sampled_from(list(WHOLE)) | st.dictionaries(PARTS, JSON))
ANSWERS = st.dictionaries(
    st.sampled_from(["choices", "usage", "error", "model", "detail", "message", "promptFeedback"]),
    JSON | st.lists(CHOICES, max_size=2),
)


@given(st.one_of(ANSWERS, JSON), st.sampled_from([200, 201, 400, 429, 500]))
def test_any_json_is_an_answer_or_an_error_of_a_backend(body: object, status: int) -> None:
    """Nothing that a server can say is a bug of ours."""
    completion = told(body, status=status)
    if isinstance(completion, Completion):
        assert isinstance(completion.text, str)
        assert isinstance(completion.reasoning, str)
        assert completion.finish_reason in ("stop", "length", "tool_calls", CONTENT_FILTER)
    else:
        assert printable(completion) == completion


@given(st.binary(max_size=60))
@pytest.mark.parametrize("status", [200, 500])
def test_any_bytes_are_an_error_of_a_backend(status: int, body: bytes) -> None:
    """Broken off, mixed up, or not text at all."""
    words = told(body, status=status)
    assert isinstance(words, str)
    assert printable(words) == words


@pytest.mark.parametrize("piece", [b"[", b'{"a":', b'[{"content":', b'{"message":[', b'{"error":'])
def test_no_depth_of_nesting_is_too_much(piece: bytes) -> None:
    """A hostile server's try at the interpreter's stack."""
    for body in (piece * 100_000, b'{"choices":[{"finish_reason":"stop","message":{"content":' + b"[" * 900 + b"]" * 900
                 + b"}}]}"):  # fmt: skip
        assert isinstance(told(body), Completion) or len(str(told(body))) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("aé {}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@example(10**30)
@example(-(2**63) - 1)
@example(-(2**63) + 1)
@example(2**64 - 1)
@given(JSON)
def test_json_that_is_not_quite_json_says_the_same_as_where_it_is(value: object) -> None:
    """A byte order mark, or half a surrogate pair beside it, changes nothing of the rest."""
    plain = loads(json.dumps(value).encode())  # compared as text, as `NaN` is not equal to itself
    assert repr(loads(b"\xef\xbb\xbf" + json.dumps(value).encode())) == repr(plain)
    assert repr(loads(json.dumps([value, "\ud800"]).encode())) == repr([plain, "\ufffd"])


def test_an_answer_with_a_number_that_64_bits_do_not_hold_is_read() -> None:
    """Also beside `NaN`, which the strict reader refuses."""
    for beside in (1.0, float("nan")):
        assert read({**answer({"content": "yes", "annotations": [10**30]}), "speed": beside}).text == "yes"


def test_json_that_is_nested_without_end_is_refused_as_any_other_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="deep"):
        loads(b"\xef\xbb\xbf" + b"[" * 100_000)
