"""Both HTTP backends against a server that misbehaves in every way we know of: each way has its own error."""

import json
import socket
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import Answer, chat, response, serving

from metaspo.backends import (
    CONTENT_FILTER,
    AccessDenied,
    Backend,
    BackendError,
    Completion,
    ConnectionLost,
    CreditExhausted,
    FatalError,
    HalfAnswer,
    LimitHints,
    Message,
    OpenAIAPI,
    OpenAICompatible,
    Overloaded,
    RateLimited,
    Request,
    RequestRejected,
    Sampling,
    ServerFault,
    SlowDown,
    TimedOut,
    TransientError,
    UnknownModel,
    Unreachable,
    Usage,
    WrongForm,
)
from metaspo.backends.http.errors import Call, safe_words
from metaspo.cache import MemoryStore
from metaspo.scheduling import Account, Gateway, Lane

KEY = "sk-verysecretkey1234"
PROMPT = "The quick brown fox asks whether the lazy dog is a cat."
REQUEST = Request(model="gpt-4o-mini", messages=(Message("system", "Be brief."), Message("user", PROMPT)))
KINDS = ["compatible", "openai"]


def make(kind: str, base_url: str) -> Backend:
    if kind == "openai":
        return OpenAIAPI(api_key=KEY, base_url=base_url)
    return OpenAICompatible(base_url, api_key=KEY)


async def ask(kind: str, answer: Answer, *, request: Request = REQUEST, time_limit: float = 30.0) -> BackendError:
    """The error the answer leads to."""
    async with serving(answer) as (url, seen):
        backend = make(kind, url)
        try:
            with pytest.raises(BackendError) as caught:
                await backend.complete(request, time_limit=time_limit)
        finally:
            await backend.aclose()
        assert len(seen.bodies) == 1, "a backend never tries again"
    return caught.value


def error(code: object = None, type_: str | None = None, message: str = "Sorry.") -> dict[str, Any]:
    return {"error": {"code": code, "type": type_, "message": message, "param": None}}


REFUSALS: list[tuple[int, object, type[BackendError]]] = [
    (429, error("rate_limit_exceeded", "tokens"), RateLimited),
    (429, error("rate_limit_exceeded", "insufficient_quota"), RateLimited),
    (429, error(None, "requests"), RateLimited),
    (429, error("slow_down", "rate_limit_error"), SlowDown),
    (429, error("resource_unavailable"), Overloaded),
    (429, error("insufficient_quota", "insufficient_quota"), CreditExhausted),
    (429, error("credit_balance_exhausted", "insufficient_quota"), CreditExhausted),
    (429, error("organization_spend_limit_exceeded", "x"), CreditExhausted),
    (429, error("project_spend_limit_exceeded"), CreditExhausted),
    (429, error("organization_usage_limit_exceeded"), CreditExhausted),
    (429, error("unheard_of", "insufficient_quota"), CreditExhausted),
    (429, b"busy", RateLimited),
    (402, error(), CreditExhausted),
    (503, error("server_is_overloaded"), Overloaded),
    (503, error("slow_down", "rate_limit_error"), Overloaded),
    (503, error(503, "unavailable_error", "Loading model"), Overloaded),
    (503, b"<html>", Overloaded),
    (500, error(500, "InternalServerError"), ServerFault),
    (502, b"", ServerFault),
    (504, b"[1]", ServerFault),
    (408, error(), ServerFault),
    (409, error(), ServerFault),
    (401, error("invalid_api_key"), AccessDenied),
    (401, error(401, "authentication_error"), AccessDenied),
    (403, error(), AccessDenied),
    (404, error(404, "NotFoundError", "The model `x` does not exist."), UnknownModel),
    (404, error("model_not_found"), UnknownModel),
    (404, b"Not Found", UnknownModel),
    (400, error("model_not_found"), UnknownModel),
    (400, error(400, "BadRequestError", "The model `x` does not exist."), UnknownModel),
    (400, error("context_length_exceeded", "invalid_request_error"), RequestRejected),
    (400, error(400, "exceed_context_size_error"), RequestRejected),
    (400, error(400, "BadRequestError", "This model's maximum context length is 2048 tokens."), RequestRejected),
    (400, error("content_policy_violation"), RequestRejected),
    (413, b"", RequestRejected),
    (500, error(500, "server_error", "image input is not supported - hint: you may need the mmproj"), RequestRejected),
    (500, error(500, "server_error", "tools param requires --jinja flag"), RequestRejected),
    (422, {"detail": "no"}, RequestRejected),
    (400, error("unsupported_parameter", "invalid_request_error"), WrongForm),
    (405, b"", FatalError),
    (307, b"", FatalError),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("status", "body", "expected"), REFUSALS)
async def test_every_refusal_has_its_class(kind: str, status: int, body: object, expected: type[BackendError]) -> None:
    """Decided by error.code, then error.type, then the status; the same through both clients."""
    caught = await ask(kind, response(status, body))
    assert type(caught) is expected
    assert "127.0.0.1" in str(caught), "the sentence says where"


HALVES: list[tuple[bytes | dict[str, Any], type[BackendError]]] = [
    (json.dumps(chat()).encode()[:-20], HalfAnswer),
    (b"", HalfAnswer),
    (b"null", HalfAnswer),
    ({}, HalfAnswer),
    ({"choices": []}, HalfAnswer),
    ({"choices": [{"finish_reason": "stop"}]}, HalfAnswer),
    (chat(None, None), HalfAnswer),
    (chat("", None), HalfAnswer),
    (chat(None, "abort", refusal="I am sorry, I"), HalfAnswer),
    (chat("half a te", "abort"), HalfAnswer),
    (chat("half a te", ""), HalfAnswer),
    (chat("half a te", "timeout"), HalfAnswer),
    (chat("half a te", "canceled"), HalfAnswer),
    (chat("half a te", "insufficient_system_resource"), HalfAnswer),
    (chat("half a te", "a reason of its own"), HalfAnswer),
    (error(429), RateLimited),
    (error("oops"), ServerFault),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("body", "expected"), HALVES)
async def test_half_an_answer_is_never_an_answer(
    kind: str, body: bytes | dict[str, Any], expected: type[BackendError]
) -> None:
    """Status 200 alone makes no completion."""
    assert type(await ask(kind, response(200, body))) is expected


async def completion_of(kind: str, body: dict[str, Any]) -> Completion:
    """What a backend makes of a response with status 200."""
    async with serving(response(200, body)) as (url, _):
        backend = make(kind, url)
        try:
            return (await backend.complete(REQUEST, time_limit=30)).completion
        finally:
            await backend.aclose()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
async def test_an_answer_without_a_word_is_whole(kind: str, finish_reason: str) -> None:
    """All of it was reasoning: asking again would cost the same and end the same."""
    completion = await completion_of(kind, chat(None, finish_reason))
    assert (completion.text, completion.finish_reason) == ("", finish_reason)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (chat("", "content_filter"), ""),
        (chat(None, "content_filter"), ""),
        (chat(None, "stop", refusal="I cannot help."), "I cannot help."),
        (chat("", "stop", refusal="I cannot help."), "I cannot help."),
        (chat([{"type": "refusal", "refusal": "No, not that."}], "stop"), "No, not that."),
        (chat("half of wh", "content_filter", refusal="I cannot."), "I cannot."),
    ],
)
async def test_a_refusal_that_was_paid_for_is_an_answer(kind: str, body: dict[str, Any], text: str) -> None:
    """With the usage that was charged, so that it can be booked and kept."""
    completion = await completion_of(kind, body)
    assert (completion.text, completion.finish_reason) == (text, CONTENT_FILTER)
    assert completion.usage == Usage(7, 2, 4)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_is_paid_for_once(kind: str) -> None:
    """Booked at what it took, and from then on answered from the store, by whichever run."""
    first, second, store = Account("first"), Account("second"), MemoryStore()
    async with serving(response(200, chat(None, refusal="I cannot help."))) as (url, seen):
        for account in (first, second):
            async with Gateway([Lane("lane", [make(kind, url)])], store=store) as gateway:
                completion = await gateway.complete(REQUEST, lane="lane", account=account)
                assert completion.finish_reason == CONTENT_FILTER
        assert len(seen.bodies) == 1
    assert (first.purse.spent.tokens, second.purse.spent.tokens) == (9, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_with_an_empty_refusal_is_an_answer(kind: str) -> None:
    """Servers send the field along whether or not there is something in it."""
    for refusal in (None, ""):
        completion = await completion_of(kind, chat("yes", refusal=refusal))
        assert (completion.text, completion.finish_reason) == ("yes", "stop")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_holds_what_the_server_said(kind: str) -> None:
    """Text, finish reason, usage with cached tokens, fingerprint, and the limits in the headers."""
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    async with serving(response(200, chat("Grüße"), headers)) as (url, _):
        backend = make(kind, url)
        began = anyio.current_time()
        reply = await backend.complete(REQUEST, time_limit=30)
        took = anyio.current_time() - began
        await backend.aclose()
    assert reply.completion.text == "Grüße"
    assert reply.completion.finish_reason == "stop"
    assert reply.completion.usage == Usage(7, 2, 4)
    assert reply.completion.server == "m-1 fp"
    assert 0 < reply.completion.latency <= took
    assert reply.hints == LimitHints(requests_limit=60, tokens_remaining=149984, tokens_reset=360.0)


@pytest.mark.parametrize("kind", KINDS)
async def test_usage_is_estimated_where_the_server_gives_none(kind: str) -> None:
    """A missing count must not look like a free call."""
    body = {**chat("four"), "usage": None}
    async with serving(response(200, body)) as (url, _):
        backend = make(kind, url)
        reply = await backend.complete(REQUEST, time_limit=30)
        await backend.aclose()
    assert reply.completion.usage == Usage(-(-len("Be brief.") // 4) + -(-len(PROMPT) // 4), 1)
    assert reply.hints is None


@pytest.mark.parametrize("kind", KINDS)
async def test_waits_and_limits_travel_with_transient_errors(kind: str) -> None:
    """What the server asks for reaches whoever decides when to try again."""
    headers = {"retry-after": "7", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}
    caught = await ask(kind, response(429, error("rate_limit_exceeded"), headers))
    assert isinstance(caught, TransientError)
    assert caught.retry_after == 7.0
    assert caught.hints == LimitHints(requests_remaining=0, requests_reset=1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
@pytest.mark.parametrize(
    "message",
    [
        f"Incorrect API key provided: {KEY}.",
        f"Bad header Authorization: Bearer {KEY}",
        "Incorrect API key provided: sk-very****1234. Find yours on the site.",
        f"Invalid messages: [{{'role': 'user', 'content': '{PROMPT}'}}]",
        "x" * 190 + PROMPT,
        f"Cannot parse {PROMPT[5:30]!r}",
    ],
)
async def test_no_message_repeats_a_key_or_a_prompt(kind: str, status: int, message: str) -> None:
    """However the server echoes them; and no message grows with the server's."""
    text = str(await ask(kind, response(status, error(message=message))))
    assert KEY not in text
    assert "1234" not in text
    assert not any(PROMPT[i : i + 16] in text for i in range(len(PROMPT) - 16))
    assert len(text) < 400


async def test_the_servers_words_are_passed_on_where_they_help() -> None:
    """A rejected request says why."""
    caught = await ask("compatible", response(400, error(message="maximum context length is 2048 tokens")))
    assert "maximum context length is 2048 tokens" in str(caught)


async def test_a_long_story_from_the_server_is_cut_short() -> None:
    """A stack trace or a page of HTML does not fill the terminal."""
    text = str(await ask("compatible", response(400, error(message="It went wrong. " * 500))))
    assert "It went wrong." in text
    assert len(text) < 400


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_closed_before_any_byte_is_told_apart(kind: str) -> None:
    """A stale keep-alive: nothing of an answer had come."""
    caught = await ask(kind, Answer(close=True))
    assert isinstance(caught, ConnectionLost)
    assert caught.before_answer


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_closed_within_the_answer_is_not_stale(kind: str) -> None:
    """Some of the answer had come."""
    whole = response(200, chat()).raw
    caught = await ask(kind, Answer(raw=whole[:-20], close=True))
    assert isinstance(caught, ConnectionLost)
    assert not caught.before_answer


async def test_headers_cut_off_are_not_stale_either() -> None:
    """Bytes had come, if no whole header."""
    caught = await ask("compatible", Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-le", close=True))
    assert isinstance(caught, ConnectionLost)
    assert not caught.before_answer


async def test_a_keep_alive_that_the_server_drops_is_stale() -> None:
    """The second request on a connection that the server closes when it sees it."""
    answers = iter([response(200, chat()), Answer(close=True)])
    async with serving(lambda _: next(answers)) as (url, seen):
        backend = make("compatible", url)
        await backend.complete(REQUEST, time_limit=30)
        with pytest.raises(ConnectionLost) as caught:
            await backend.complete(REQUEST, time_limit=30)
        await backend.aclose()
    assert caught.value.before_answer
    assert seen.connections == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"])
async def test_the_time_limit_holds_for_the_whole_answer(kind: str, raw: bytes) -> None:
    """Silence before the answer or within it."""
    assert type(await ask(kind, Answer(raw=raw, hang=True), time_limit=0.2)) is TimedOut


async def test_what_is_not_http_is_half_an_answer() -> None:
    """Some other service on the port."""
    assert type(await ask("compatible", Answer(raw=b"220 mail.example ESMTP\r\n\r\n", close=True))) is HalfAnswer


@pytest.mark.parametrize("kind", KINDS)
async def test_no_server_is_unreachable(kind: str) -> None:
    """A port where nobody listens, and a name that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        backend = make(kind, f"http://127.0.0.1:{port}")
        with pytest.raises(Unreachable, match=str(port)):
            await backend.complete(REQUEST, time_limit=30)
        with pytest.raises(Unreachable):
            await backend.probe()
        await backend.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_a_call_closes_its_connection(kind: str) -> None:
    """This is how the server learns to stop working on it."""
    async with serving(Answer(hang=True)) as (url, seen):
        backend = make(kind, url)
        async with anyio.create_task_group() as group:
            group.start_soon(_ignore_reply, backend)
            with anyio.fail_after(10):
                while not seen.bodies:
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not seen.hung_up:
                await anyio.lowlevel.checkpoint()
        await backend.aclose()


async def _ignore_reply(backend: Backend) -> None:
    await backend.complete(REQUEST, time_limit=30)


async def sent(backend_kind: str, request: Request) -> dict[str, Any]:
    """The body and key as they arrive."""
    async with serving(response(200, chat())) as (url, seen):
        backend = make(backend_kind, url)
        await backend.complete(request, time_limit=30)
        await backend.aclose()
    assert seen.heads[0].startswith("POST /v1/chat/completions ")
    assert f"authorization: bearer {KEY}".lower() in seen.heads[0].lower()
    body = json.loads(seen.bodies[0])
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_is_sent_whole(kind: str) -> None:
    """Every parameter that is set, none that is not, and never the draw or the revision."""
    sampling = Sampling(max_tokens=5, temperature=0.5, top_p=0.9, seed=3, stop=("END",), extra='{"priority": 2}')
    request = Request(
        model="gpt-4o-mini",
        messages=REQUEST.messages,
        sampling=sampling,
        response_format='{"type": "json_object"}',
        draw=4,
        revision="r",
    )
    assert await sent(kind, request) == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
        "max_tokens": 5,
        "stream": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["END"],
        "priority": 2,
        "response_format": {"type": "json_object"},
    }
    bare = await sent(kind, Request(model="gpt-4o-mini", messages=(), sampling=Sampling(temperature=None)))
    assert bare == {"model": "gpt-4o-mini", "messages": [], "max_tokens": 1024, "stream": False}


async def test_the_models_facts_decide_its_parameters() -> None:
    """The successor takes other parameters; a request's own extra fields go before the model's."""
    luna = await sent("openai", Request(model="gpt-6-luna", messages=()))
    assert luna == {
        "model": "gpt-6-luna",
        "messages": [],
        "max_completion_tokens": 1024,
        "stream": False,
        "reasoning_effort": "none",
    }
    own = Sampling(extra='{"reasoning_effort": "low"}')
    assert (await sent("openai", Request(model="gpt-6-luna", messages=(), sampling=own)))["reasoning_effort"] == "low"
    unknown = await sent("openai", Request(model="gpt-9", messages=()))
    assert unknown == {
        "model": "gpt-9",
        "messages": [],
        "max_completion_tokens": 1024,
        "stream": False,
        "temperature": 0.0,
    }


@pytest.mark.parametrize("extra", ["{", "[1]", "3"])
async def test_extra_fields_that_are_no_object_are_refused_before_anything_is_sent(extra: str) -> None:
    """A program's mistake in one request, of which no other knows."""
    backend = make("compatible", "http://127.0.0.1:1")
    with pytest.raises(RequestRejected, match="extra"):
        await backend.complete(Request(model="m", messages=(), sampling=Sampling(extra=extra)), time_limit=30)


async def test_no_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the variable to set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AccessDenied, match="OPENAI_API_KEY"):
        await OpenAIAPI().complete(REQUEST, time_limit=30)


MODELS: list[tuple[dict[str, Any], tuple[str, ...], int | None]] = [
    ({"data": [{"id": "a", "max_model_len": 2048}, {"id": "b", "max_model_len": 1024}]}, ("a", "b"), 1024),
    ({"data": [{"id": "m", "meta": {"n_ctx": 4096, "n_ctx_train": 32768}}]}, ("m",), 4096),
    ({"data": [{"id": "m", "meta": {"n_ctx_train": 32768}}]}, ("m",), 32768),
    ({"data": [{"id": "gpt-4o-mini", "object": "model"}]}, ("gpt-4o-mini",), None),
    ({"data": [3]}, (), None),
    ({}, (), None),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("body", "names", "context"), MODELS)
async def test_probe_reads_names_and_context(
    kind: str, body: dict[str, Any], names: tuple[str, ...], context: int | None
) -> None:
    """In the dialects of vLLM, llama.cpp and OpenAI."""
    async with serving(response(200, body)) as (url, seen):
        backend = make(kind, url)
        info = await backend.probe()
        await backend.aclose()
    assert (info.models, info.context) == (names, context)
    assert seen.heads[0].startswith("GET /v1/models ")


@pytest.mark.parametrize("kind", KINDS)
async def test_probe_raises_what_complete_would(kind: str) -> None:
    """A wrong key shows before anything is spent."""
    async with serving(response(401, error("invalid_api_key"))) as (url, _):
        backend = make(kind, url)
        with pytest.raises(AccessDenied):
            await backend.probe()
        await backend.aclose()


METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m{x}"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0"} 1e1
vllm:num_requests_waiting_by_reason{engine="0"} 99
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5 1700000000
vllm:num_preemptions_total{engine="0"} NaN
"""


async def test_load_sums_the_gauges_over_engines() -> None:
    """Requests add up, the fullest cache counts, and what is no number is left out."""
    async with serving(response(200, METRICS)) as (url, seen):
        backend = OpenAICompatible(url + "/v1/")
        load = await backend.load()
        await backend.aclose()
    assert load == {"running": 5.0, "waiting": 10.0, "kv_cache": 0.5}
    assert seen.heads[0].startswith("GET /metrics ")


@pytest.mark.parametrize("answer", [response(404, b""), response(200, b"\xff<html>"), Answer(close=True)])
async def test_load_is_empty_where_there_is_none(answer: Answer) -> None:
    """Gauges are never required."""
    async with serving(answer) as (url, _):
        backend = OpenAICompatible(url)
        assert await backend.load() == {}
        await backend.aclose()


async def test_all_calls_at_once_are_in_flight_at_once() -> None:
    """No hidden limit on connections: 300 requests hang together."""
    async with serving(Answer(hang=True)) as (url, seen):
        backend = make("compatible", url)
        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(_ignore_reply, backend)
            with anyio.fail_after(20):
                while len(seen.bodies) < 300:
                    await anyio.lowlevel.checkpoint()
            assert repr(backend).endswith("300 in flight>")
            group.cancel_scope.cancel()
        await backend.aclose()
        await backend.aclose()


async def test_nothing_shown_of_a_backend_holds_the_key() -> None:
    """Neither its name nor its repr."""
    for backend in (OpenAICompatible("http://h:1/v1", api_key=KEY), OpenAIAPI(api_key=KEY, base_url="http://h:1")):
        assert backend.name == "h:1"
        assert KEY not in repr(backend) + str(backend)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_that_names_a_target_reaches_nobody(kind: str, status: int) -> None:
    """Neither a call nor a probe: the key and the prompt were not meant for there."""
    async with serving(response(200, chat())) as (elsewhere, reached):
        async with serving(response(status, b"", {"location": f"{elsewhere}/v1/chat/completions"})) as (url, seen):
            backend = make(kind, url)
            for attempt in (backend.complete(REQUEST, time_limit=5), backend.probe()):
                with pytest.raises(FatalError):
                    await attempt
            await backend.load()
            await backend.aclose()
        assert seen.connections
        assert not reached.connections


WORDS = st.text(st.sampled_from("abcdefgh éü,.\n"), max_size=60)


@given(
    prompt=st.text(st.sampled_from("abcdefgh éü,.\n"), min_size=3, max_size=120),
    before=WORDS | st.just("x" * 180),
    after=WORDS,
    data=st.data(),
)
def test_no_piece_of_a_prompt_is_shown_wherever_it_stands_in_a_servers_words(
    prompt: str, before: str, after: str, data: st.DataObject
) -> None:
    """Down to twelve characters, or to the whole prompt where that is shorter; spaces are as good as newlines."""
    start = data.draw(st.integers(0, len(prompt)))
    piece = prompt[start : data.draw(st.integers(start, len(prompt)))]
    call = Call("server", "m", prompts=(Message("system", "Be brief and kind."), Message("user", prompt)))
    shown = safe_words(before + piece + after, call=call)
    plain = " ".join(prompt.split())
    windows = [plain[at : at + 12] for at in range(len(plain) - 11)] or [plain]
    assert not any(len(window) > 2 and window in shown for window in windows)


@pytest.mark.parametrize(
    ("before", "after"), [("", " it"), ("about ", " it"), ("about ", ""), ("", ""), ("x" * 187, "")]
)
def test_twelve_characters_of_a_prompt_are_a_piece_of_it_and_eleven_are_not(before: str, after: str) -> None:
    call = Call("server", "m", prompts=(Message("user", "0123456789abcdef"),))
    assert safe_words(f"{before}0123456789ab{after}", call=call) == ""
    shown = f"{before}0123456789a{after}"
    assert safe_words(shown, call=call) == shown
