"""`metaspo serve` as its clients meet it: what they get, who may ask, what it costs them, and how it ends."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from chat_server import NO_CREDIT, TOO_LONG, UNKNOWN_MODEL, ChatServer, Refusal, Refuse
from misbehaving_server import response, serving

from metaspo.backends import Request
from metaspo.cache import StoreError
from metaspo.engine import ConfigError
from metaspo.serving import ServeConfig, Server, embedded_config, load_serve_config, open_client, open_server
from metaspo.serving.accounts import Accounts
from metaspo.serving.bodies import MAX_OF_BODY

KEYS = {"ALICE_KEY": "sk-alice-secret", "BOB_KEY": "sk-bob-secret"}
ALICE = {"Authorization": "Bearer sk-alice-secret"}
BOB = {"Authorization": "Bearer sk-bob-secret"}
NO_ACCESS = Refusal(401, "invalid_api_key", "Incorrect API key provided")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Is it so?"}], "temperature": 0}
SAMPLED = {**CHAT, "temperature": 1}


def config_of(*urls: str, **more: object) -> ServeConfig:
    models = [{"name": name, "model": "up", "endpoints": [url]} for name, url in zip(("m", "n"), urls, strict=False)]
    return ServeConfig.model_validate({"models": models, "port": 0, **more})


@asynccontextmanager
async def at(
    folder: Path, config: ServeConfig, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[aiohttp.ClientSession, Server]]:
    """A client of an open server."""
    async with (
        open_server(config, environment=KEYS, folder=folder) as (server, address),
        aiohttp.ClientSession(address.removesuffix("/v1"), headers=headers) as session,
    ):
        yield session, server


async def post(
    session: aiohttp.ClientSession, body: object = CHAT, path: str = "chat/completions", **headers: str
) -> tuple[int, Any, Mapping[str, str]]:
    named = {name.replace("_", "-"): said for name, said in headers.items()}
    async with session.post(f"/v1/{path}", json=body, headers=named) as answer:
        return answer.status, await answer.json(), answer.headers


def upstream(*, refuse: Refuse = lambda _request, _before: None) -> ChatServer:
    return ChatServer(lambda request: f"yes to {request.messages[-1].content}", refuse=refuse)


async def test_a_chat_is_answered_as_openai_s_clients_expect_it_and_once_for_all(tmp_path: Path) -> None:
    with upstream() as server:
        prices = {"input": 1.0, "output": 1.0}
        config = ServeConfig.model_validate(
            {"models": [{"model": "m", "endpoints": [server.url], "prices": prices}], "port": 0}
        )
        async with at(tmp_path, config) as (session, _):
            status, body, headers = await post(session)
            again = await post(session)
    assert status == 200
    assert (body["object"], body["model"], type(body["created"])) == ("chat.completion", "m", int)
    assert body["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "yes to Is it so?"},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert body["usage"]["total_tokens"] == 23
    assert (headers["x-metaspo-cache"], headers["x-metaspo-cost"]) == ("miss", "0.00002300")
    assert (again[2]["x-metaspo-cache"], again[2]["x-metaspo-cost"]) == ("hit", "0.00000000")
    assert again[2]["x-metaspo-saved"] == "0.00002300"
    assert headers["x-metaspo-key"] == again[2]["x-metaspo-key"]
    assert again[1]["id"] == body["id"]
    assert server.calls == 1


async def test_a_body_that_came_before_is_answered_the_same_and_counted_as_a_hit(tmp_path: Path) -> None:
    """Whoever asks, and only where a body says all there is to say: a draw that is named is another question."""
    with upstream() as server:
        keys = [{"name": name, "key_env": f"{name.upper()}_KEY"} for name in ("alice", "bob")]
        async with at(tmp_path, config_of(server.url, keys=keys)) as (session, _):
            answers = []
            for key in (ALICE, ALICE, BOB):
                async with session.post("/v1/chat/completions", json=CHAT, headers=key) as answer:
                    answers.append((await answer.read(), answer.headers["x-metaspo-cache"]))
            drawn = await post(session, CHAT, x_metaspo_draw="1", **ALICE)
            stranger = await post(session, CHAT)
            async with session.get("/metrics", headers=ALICE) as page:
                metrics = await page.text()
    assert len({body for body, _ in answers}) == 1
    assert [source for _, source in answers] == ["miss", "hit", "hit"]
    assert (drawn[2]["x-metaspo-cache"], drawn[2]["x-metaspo-draw"]) == ("miss", "1")
    assert stranger[0] == 401
    assert 'metaspo_requests_total{lane="m",outcome="hit"} 2' in metrics
    assert server.calls == 2


@pytest.mark.parametrize("prices", [{}, {"prices": {"input": 3.0, "output": 9.0}}])
async def test_a_body_that_came_before_tells_as_much_as_any_hit(tmp_path: Path, prices: dict[str, object]) -> None:
    with upstream() as server:
        model = {"model": "m", "endpoints": [server.url], **prices}
        config = ServeConfig.model_validate({"models": [model], "port": 0})
        async with at(tmp_path, config) as (session, _):
            await post(session)
            _, _, known = await post(session)
            _, _, looked_up = await post(session, x_metaspo_priority="1")
    assert {**known, "Date": ""} == {**looked_up, "Date": ""}
    assert ("x-metaspo-saved" in known) == bool(prices)


async def test_equal_questions_of_many_clients_are_asked_once(tmp_path: Path) -> None:
    with upstream() as server:
        server.hold_after(0)
        async with at(tmp_path, config_of(server.url)) as (session, _):
            asking = [asyncio.create_task(post(session)) for _ in range(32)]
            await asyncio.to_thread(server.wait_for, asked=1)
            server.release()
            answers = await asyncio.gather(*asking)
    assert server.calls == 1
    assert sorted(headers["x-metaspo-cache"] for _, _, headers in answers)[-1] == "miss"
    assert {body["choices"][0]["message"]["content"] for _, body, _ in answers} == {"yes to Is it so?"}


async def test_the_providers_refusals_for_the_rate_are_waited_for(tmp_path: Path) -> None:
    """No client ever sees one."""
    refusals = [Refusal(429, "rate_limit_exceeded"), Refusal(503)]
    with upstream(refuse=lambda _request, before: refusals[before] if before < 2 else None) as server:
        async with at(tmp_path, config_of(server.url)) as (session, _):
            status, _, headers = await post(session)
    assert status == 200
    assert float(headers["x-metaspo-queue-ms"]) > 500


async def test_samples_are_new_ones_unless_a_run_or_a_draw_is_named(tmp_path: Path) -> None:
    with upstream() as server:
        async with at(tmp_path, config_of(server.url)) as (session, _):
            free = [(await post(session, SAMPLED))[2]["x-metaspo-draw"] for _ in range(3)]
            named = [(await post(session, SAMPLED, x_metaspo_draw="7"))[2]["x-metaspo-cache"] for _ in range(2)]
            first = [(await post(session, SAMPLED, x_metaspo_run="a"))[2]["x-metaspo-draw"] for _ in range(3)]
            second = [await post(session, SAMPLED, x_metaspo_run="b") for _ in range(3)]
            several = await post(session, {**SAMPLED, "n": 3}, x_metaspo_run="c")
            equal = await post(session, {**CHAT, "n": 2})
            seeded = [(await post(session, {**SAMPLED, "seed": 1}))[2]["x-metaspo-cache"] for _ in range(2)]
    assert len(set(free)) == 3
    assert named == ["miss", "hit"]
    assert first == ["0", "1", "2"]
    assert [headers["x-metaspo-cache"] for _, _, headers in second] == ["hit"] * 3
    assert several[2]["x-metaspo-draw"] == "0,1,2"
    assert several[2]["x-metaspo-cache"] == "hit"
    assert [choice["index"] for choice in several[1]["choices"]] == [0, 1, 2]
    assert len(equal[1]["choices"]) == 2
    assert seeded == ["miss", "hit"]
    assert server.calls == 3 + 1 + 3 + 1 + 1


async def test_draws_of_a_run_that_were_not_answered_are_those_of_the_next_request(tmp_path: Path) -> None:
    """Of all choices, if one failed: else what a rerun asks for would depend on failures."""
    several = {**SAMPLED, "n": 3}

    def refuse(_request: Request, before: int) -> Refusal | None:
        return TOO_LONG if before == 1 else None  # the second call

    with upstream(refuse=refuse) as server:
        async with at(tmp_path, config_of(server.url)) as (session, _):
            failed = await post(session, several, x_metaspo_run="a")
            unread = await post(session, several, x_metaspo_run="a", x_metaspo_keep_alive="soon")
            answered = await post(session, several, x_metaspo_run="a")
            following = await post(session, SAMPLED, x_metaspo_run="a")
    assert (failed[0], failed[1]["error"]["code"]) == (400, "rejected")
    assert (unread[0], "keep-alive" in unread[1]["error"]["message"]) == (400, True)
    assert answered[2]["x-metaspo-draw"] == "0,1,2"
    assert following[2]["x-metaspo-draw"] == "3"


async def test_a_stream_is_the_answer_in_pieces(tmp_path: Path) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    with upstream() as server:
        async with at(tmp_path, config_of(server.url)) as (session, _):
            async with session.post("/v1/chat/completions", json=body) as answer:
                text = await answer.text()
                assert answer.content_type == "text/event-stream"
            plain = await post(session)
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    said = "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"])
    assert said == plain[1]["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == plain[1]["usage"]
    assert plain[2]["x-metaspo-cache"] == "hit"


async def test_who_waits_for_a_stream_or_asks_for_it_gets_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space before JSON is JSON; comments between events are none."""
    monkeypatch.setattr("metaspo.serving.server.STREAM_KEEP_ALIVE", 0.01)
    with upstream() as server:
        server.hold_after(0)
        async with at(tmp_path, config_of(server.url)) as (session, _):
            async with session.post("/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
                assert (await answer.content.readany()).startswith(b": waiting\n\n")
                server.release()
                assert b"yes to" in await answer.read()
            headers = {"x-metaspo-keep-alive": "1"}
            async with session.post("/v1/chat/completions", json=CHAT, headers=headers) as answer:
                assert (await answer.json())["object"] == "chat.completion"


async def test_who_is_gone_waits_no_longer(tmp_path: Path) -> None:
    """The call that nobody wants any more is broken off."""
    with upstream() as server:
        server.hold_after(0)
        async with at(tmp_path, config_of(server.url)) as (session, _):
            asking = asyncio.create_task(post(session))
            await asyncio.to_thread(server.wait_for, asked=1)
            asking.cancel()
            await asyncio.to_thread(server.wait_until_clients_hung_up)
            server.release()
            assert (await post(session))[0] == 200


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (TOO_LONG, 400, "rejected"),
        (UNKNOWN_MODEL, 404, "model"),
        (NO_CREDIT, 402, "credit"),
        (NO_ACCESS, 502, "access"),
    ],
)
async def test_a_final_failure_says_that_it_is_and_stops_no_other_model(
    tmp_path: Path, refusal: Refusal, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And what a client can do; where the server is, and what it has to say to whoever runs this one, the log says."""
    with upstream(refuse=lambda _request, _before: refusal) as bad, upstream() as good:
        async with at(tmp_path, config_of(bad.url, good.url)) as (session, _):
            said, body, headers = await post(session)
            other = await post(session, {**CHAT, "model": "n"})
    assert (said, body["error"]["code"], headers["x-should-retry"]) == (status, code, "false")
    of_client, told = code == "rejected", body["error"]["message"]
    assert (refusal.message in told, refusal.message in caplog.text) == (of_client, not of_client)
    assert "127.0.0.1" not in told
    assert of_client or ("The model m " in told and "whoever runs this server" in told)
    assert not of_client or told.startswith("The model's server rejected a request to up (status 400). The server says")
    assert other[0] == 200


@pytest.mark.parametrize("refusal", [NO_ACCESS, NO_CREDIT, UNKNOWN_MODEL])
async def test_a_model_that_only_a_person_can_mend_is_not_ready_until_it_is_tried_again(
    tmp_path: Path, refusal: Refusal
) -> None:
    refused: list[Refusal] = [refusal]

    def refuse(_request: Request, _before: int) -> Refusal | None:
        return next(iter(refused), None)

    async def ready(session: aiohttp.ClientSession) -> tuple[int, object]:
        async with session.get("/ready") as answer:
            return answer.status, (await answer.json())["down"]

    with upstream(refuse=refuse) as bad, upstream() as good:
        async with at(tmp_path / "one", config_of(bad.url)) as (session, _):
            assert await ready(session) == (200, [])
            assert (await post(session))[0] != 200
            assert await ready(session) == (503, ["m"])
        async with at(tmp_path / "two", config_of(bad.url, good.url)) as (session, running):
            assert (await post(session))[0] != 200
            assert await ready(session) == (200, ["m"])
            refused.clear()
            running._gateway.reopen("m")  # as it does itself after a while
            assert await ready(session) == (200, [])
            assert (await post(session))[0] == 200


async def test_a_request_too_much_for_a_cap_is_told_how_much_and_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = [{"model": "m", "prices": {"input": 1.0, "output": 100.0}}]
    keys = [{"name": "alice", "key_env": "ALICE_KEY", "budget": {"dollars": 0.5, "calls": 2}}]
    with upstream() as server:
        config = config_of(models=[{**model, "endpoints": [server.url]} for model in models], keys=keys)
        async with at(tmp_path, config) as (session, _):
            for seed in range(2):
                status, body, headers = await post(session, {**CHAT, "seed": seed, "max_tokens": 10_000}, **ALICE)
                assert (status, body["error"]["code"], headers["x-should-retry"]) == (402, "budget", "false")
                assert (await post(session, {**CHAT, "seed": seed, "max_tokens": 100}, **ALICE))[0] == 200
            assert not caplog.records, "it is not at its cap"
            for seed in range(2, 4):
                assert (await post(session, {**CHAT, "seed": seed, "max_tokens": 100}, **ALICE))[0] == 402
    told = body["error"]["message"]
    assert told.startswith("This request may take up to $1.00")
    assert "of the $0.5000 of the budget of alice are left" in told
    assert "ask for less (max_tokens), or ask whoever runs this server to raise the cap on dollars." in told
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("alice is at its cap: The budget of alice is used up: 2 of 2 calls")


@pytest.mark.parametrize(("method", "path"), [("POST", "/chat/completions"), ("GET", "/v1/chat/completions")])
async def test_a_path_that_there_is_not_is_told_with_those_there_are(tmp_path: Path, method: str, path: str) -> None:
    async with (
        at(tmp_path, config_of("http://127.0.0.1:9/v1")) as (session, _),
        session.request(method, path, json=CHAT) as answer,
    ):
        assert answer.status == 404
        told = (await answer.json())["error"]["message"]
    assert told.startswith(f"There is no {method} {path} here; there are: ")
    assert {"POST /v1/chat/completions", "GET /v1/models", "GET /ready"} <= set(told.split(": ")[1][:-1].split(", "))


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        (Refusal(400, message="`temperature` is deprecated for this model"), "leave temperature out of the request"),
        (Refusal(400, message="System role not supported"), "put what it says into the first message of the user"),
        (Refusal(400, message="Unrecognized request argument supplied: top_k"), "the parameters of the request"),
        (Refusal(402, message="You can only afford 20"), "lower max_tokens in the request"),
    ],
)
async def test_a_client_is_advised_what_a_client_can_do(tmp_path: Path, refusal: Refusal, advice: str) -> None:
    """And not what a config takes; of our account there not what the server says of it."""
    with upstream(refuse=lambda _request, _before: refusal) as server:
        async with at(tmp_path, config_of(server.url)) as (session, _):
            message = (await post(session))[1]["error"]["message"]
    assert advice in message
    assert (f"{advice}. The server says: {refusal.message}" in message) == (refusal.status == 400)
    assert (refusal.message in message) == (refusal.status == 400)
    assert "for it" not in message
    assert "for the model" not in message


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({**CHAT, "model": "x"}, 404, "there are: m"),
        ({**CHAT, "n": 0}, 400, "`n`"),
        ({**CHAT, "store": True}, 400, "store"),
        ({**CHAT, "stream": "false"}, 400, "`stream` must be true or false"),
        ([], 400, "object"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_a_sentence(
    tmp_path: Path, body: object, status: int, word: str
) -> None:
    async with at(tmp_path, config_of("http://127.0.0.1:9/v1")) as (session, _):
        said, answer, headers = await post(session, body)
        assert (said, word in answer["error"]["message"], headers["x-should-retry"]) == (status, True, "false")


async def test_a_page_in_a_browser_gets_nothing(tmp_path: Path) -> None:
    """Neither under a name of its own, nor with the types that need no leave."""
    with upstream() as server:
        async with at(tmp_path, config_of(server.url)) as (session, _):
            assert (await post(session, CHAT, Host="evil.example"))[0] == 403
            async with session.post("/v1/chat/completions", data=json.dumps(CHAT)) as answer:
                assert answer.status == 400
            for path, status in (("/health", 200), ("/v1/nothing", 404), ("/", 404)):
                async with session.get(path) as answer:
                    assert answer.status == status
        assert server.calls == 0
        async with at(tmp_path, config_of(server.url, hosts=["spo.example"])) as (session, _):
            assert (await post(session, CHAT, Host="spo.example:80"))[0] == 200


KEYED: dict[str, Any] = {
    "keys": [
        {"name": "alice", "key_env": "ALICE_KEY", "budget": {"calls": 3}},
        {"name": "bob", "key_env": "BOB_KEY"},
    ]
}


async def test_a_key_s_cap_holds_under_concurrency_and_over_restarts(tmp_path: Path) -> None:
    """Whatever comes at once; what is cached stays to be had, and others go on."""
    with upstream() as server:
        async with at(tmp_path, config_of(server.url, **KEYED)) as (session, _):
            asked = [{**CHAT, "messages": [{"role": "user", "content": str(k)}]} for k in range(20)]
            answers = await asyncio.gather(*(post(session, body, **ALICE) for body in asked))
            assert server.calls == 3
            answered = [body for body, answer in zip(asked, answers, strict=True) if answer[0] == 200]
            refused = [answer for answer in answers if answer[0] != 200]
            assert len(answered) == 3
            assert {(answer[0], answer[1]["error"]["code"]) for answer in refused} == {(402, "budget")}
            assert (await post(session, answered[0], **ALICE))[0] == 200
            assert (await post(session, asked[-1], **BOB))[0] == 200
        async with at(tmp_path, config_of(server.url, **KEYED)) as (session, _):
            assert (await post(session, {**CHAT, "seed": 9}, **ALICE))[0] == 402
            assert (await post(session, answered[0], **ALICE))[0] == 200


def files_in(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


@pytest.mark.slow
async def test_among_faults_nothing_is_paid_twice_no_cap_is_passed_and_no_key_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that break, refusals for the rate and errors of the server, for two accounts at once."""
    faults = [Refusal(0), Refusal(429, "rate_limit_exceeded"), Refusal(500, message=f"no, {ALICE['Authorization']}")]
    caplog.set_level("DEBUG")
    keys = [
        {"name": "alice", "key_env": "ALICE_KEY", "budget": {"calls": 6}},
        {"name": "bob", "key_env": "BOB_KEY", "budget": {"calls": 9}},
    ]

    def refuse(_request: Request, before: int) -> Refusal | None:
        return faults[before // 2 % 3] if before < 12 and before % 2 else None

    def asked(number: int) -> dict[str, object]:
        return {**CHAT, "messages": [{"role": "user", "content": f"Is {number} so?"}]}

    with upstream(refuse=refuse) as server:
        async with at(tmp_path, config_of(server.url, keys=keys)) as (session, _):
            who = [{"Authorization": said["Authorization"]} for said in (ALICE, BOB)]
            said = await asyncio.gather(
                *(post(session, asked(number), **who[number % 2]) for number in range(30) for _ in range(2))
            )
            again = await asyncio.gather(*(post(session, asked(number), **who[number % 2]) for number in range(30)))
    assert {status for status, _, _ in said} == {200, 402}
    assert max(server.answered.values()) == 1
    assert len(server.answered) <= 6 + 9
    assert {headers.get("x-metaspo-cache") for status, _, headers in again if status == 200} == {"hit"}
    told = [caplog.text.encode(), json.dumps([body for _, body, _ in said]).encode(), *files_in(tmp_path)]
    for key in KEYS.values():
        assert not any(key.encode() in text for text in told)


async def test_without_a_key_that_it_knows_nothing_is_had(tmp_path: Path) -> None:
    """And no key is in anything that it says or writes."""
    with upstream() as server:
        async with at(tmp_path, config_of(server.url, **KEYED)) as (session, _):
            for said in ("", "Bearer sk-wrong-secret", "Basic sk-alice-secret"):
                headers = {"Authorization": said} if said else {}
                status, body, _ = await post(session, CHAT, **headers)
                assert (status, body["error"]["code"]) == (401, "key")
                assert "secret" not in json.dumps(body)
            async with session.get("/v1/models") as answer:
                assert answer.status == 401
            assert (await post(session, CHAT, **ALICE))[0] == 200
    assert server.calls == 1
    assert not await asyncio.to_thread(files_with, tmp_path, b"secret")


def files_with(folder: Path, words: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and words in path.read_bytes()]


async def test_other_paths_are_cached_and_passed_through_whole(tmp_path: Path) -> None:
    said = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 3}, "x": 1}
    async with serving(response(200, said)) as (url, seen), at(tmp_path, config_of(url)) as (session, _):
        body = {"model": "m", "input": ["a"], "dimensions": 1}
        first = await post(session, body, "embeddings")
        second = await post(session, body, "embeddings")
    assert first[1] == second[1] == said
    assert (first[2]["x-metaspo-cache"], second[2]["x-metaspo-cache"]) == ("miss", "hit")
    assert [json.loads(sent) for sent in seen.bodies] == [{**body, "model": "up"}]


async def test_models_readiness_and_metrics_can_be_seen(tmp_path: Path) -> None:
    with upstream() as server:
        async with at(tmp_path, config_of(server.url)) as (session, running):
            await post(session)
            await post(session)
            async with session.get("/v1/models") as answer:
                assert [model["id"] for model in (await answer.json())["data"]] == ["m"]
            async with session.get("/v1/models/x") as answer:
                assert answer.status == 404
                assert "there are: m." in (await answer.json())["error"]["message"]
            async with session.get("/metrics") as answer:
                page = await answer.text()
            async with session.get("/ready") as answer:
                assert answer.status == 200
            running.draining = True
            async with session.get("/ready") as answer:
                assert answer.status == 503
    for line in (
        'metaspo_requests_total{lane="m",outcome="fresh"} 1',
        'metaspo_requests_total{lane="m",outcome="hit"} 1',
        'metaspo_tokens_total{lane="m",kind="prompt"} 20',
        'metaspo_in_flight{lane="m"} 0',
    ):
        assert line in page.splitlines()


async def test_what_is_under_way_is_answered_when_the_server_is_told_to_end(tmp_path: Path) -> None:
    with upstream() as server:
        server.hold_after(0)
        opened = open_server(config_of(server.url), environment=KEYS, folder=tmp_path)
        _, address = await opened.__aenter__()
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.post(f"{address}/chat/completions", json=CHAT))
            await asyncio.to_thread(server.wait_for, asked=1)
            ending = asyncio.create_task(opened.__aexit__(None, None, None))
            await asyncio.sleep(0)
            server.release()
            answer = await asking
            assert answer.status == 200
            assert (await answer.json())["choices"][0]["message"]["content"] == "yes to Is it so?"
            await ending


async def test_a_server_that_gives_no_time_to_end_ends_at_once(tmp_path: Path) -> None:
    with upstream() as server:
        server.hold_after(0)
        opened = open_server(config_of(server.url, drain=0), environment=KEYS, folder=tmp_path)
        _, address = await opened.__aenter__()
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.post(f"{address}/chat/completions", json=CHAT))
            await asyncio.to_thread(server.wait_for, asked=1)
            await opened.__aexit__(None, None, None)
            with pytest.raises(aiohttp.ClientError):
                await asking


async def test_openai_s_own_client_is_served(tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    messages = [{"role": "user", "content": "Is it so?"}]
    with upstream() as server:
        async with (
            open_server(config_of(server.url), environment=KEYS, folder=tmp_path) as (_, address),
            openai.AsyncOpenAI(base_url=address, api_key="any") as client,
        ):
            answer = await client.chat.completions.create(model="m", messages=messages, n=2)
            assert [choice.message.content for choice in answer.choices] == ["yes to Is it so?"] * 2
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "".join(pieces) == "yes to Is it so?"
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="x", messages=messages)


def test_beyond_this_machine_a_key_is_required() -> None:
    with pytest.raises(ConfigError, match="keys"):
        embedded_config(overrides={"host": "0.0.0.0"})  # noqa: S104 - refused
    assert embedded_config(overrides={"host": "::1"}).is_loopback


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("models = []", "models"),
        ('[[models]]\nmodel = "m"\nendpoints = ["http://h/v1"]\ntemperature = 1', "each request"),
        ('[[models]]\nmodel = "m"\nendpoints = ["http://h/v1"]\n[[keys]]\nname = "a"\nkey_env = "sk-x"', "NAME"),
        ('cache = "redis://u:p@h"\n[[models]]\nmodel = "m"\nendpoints = ["http://h/v1"]', "password"),
        ("[[models]\n", "TOML"),
        (
            '[[models]]\nmodel = "m"\nendpoints = ["http://h/v1"]\n'
            '[[keys]]\nname = "a"\nkey_env = "A"\nbudget = {dollars = 5}',
            "'a': what m costs is not known",
        ),
    ],
)
def test_a_mistake_in_the_config_is_named(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        load_serve_config(path, overrides={})
    assert str(path) in str(caught.value)


def test_a_key_that_is_not_set_or_twice_the_same_is_named(tmp_path: Path) -> None:
    config = config_of("http://127.0.0.1:9/v1", **KEYED)
    for environment in ({"ALICE_KEY": "x"}, {"ALICE_KEY": "x", "BOB_KEY": "x"}):
        with pytest.raises(ConfigError, match="BOB_KEY"):
            Accounts(config, environment=environment, folder=tmp_path)


def test_a_run_s_config_serves_its_models_and_opens_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaspo import Message, Request

    monkeypatch.chdir(tmp_path)
    with upstream() as server:
        path = tmp_path / "run.toml"
        path.write_text(
            f'[base]\nmodel = "m"\nendpoints = ["{server.url}"]\nmax_tokens = 7\n'
            '[[tasks]]\nname = "t"\ntrain = "t.jsonl"\ntest = "t.jsonl"\n'
        )
        assert [model.public_name for model in load_serve_config(path, overrides={}).models] == ["m"]
        with open_client(path) as client:
            answer = client.complete(Request(model="m", messages=(Message("user", "q"),)))
    assert answer.text == "yes to q"


async def test_what_cannot_be_written_down_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On a full disk, for one: whose cap it is gets a sentence, others are answered, and all are once there is room."""
    keys = [{"name": "alice", "key_env": "ALICE_KEY", "budget": {"calls": 9}}, {"name": "bob", "key_env": "BOB_KEY"}]
    spent = tmp_path / "spent"
    with upstream() as server:
        async with at(tmp_path, config_of(server.url, keys=keys, spent=str(spent))) as (session, _):
            spent.write_text("no folder any more")
            status, body, _ = await post(session, **ALICE)
            assert (status, body["error"]["code"]) == (500, "store")
            assert str(tmp_path) not in str(body)
            assert (await post(session, **ALICE))[0] == 500
            assert (await post(session, {**CHAT, "seed": 1}, **BOB))[0] == 200
            assert server.calls == 1
            spent.unlink()
            assert (await post(session, **ALICE))[0] == 200
    (record,) = caplog.records
    written = f"{spent / 'spent.json'}, with what the accounts have spent, cannot be written"
    assert written in record.getMessage(), "once, and to whoever runs it"


def test_what_cannot_be_written_down_in_the_end_is_told_with_its_file(tmp_path: Path) -> None:
    key = {"name": "alice", "key_env": "ALICE_KEY", "budget": {"calls": 9}}
    spent = tmp_path / "spent"
    config = config_of("http://127.0.0.1:9/v1", keys=[key], spent=str(spent))
    accounts = Accounts(config, environment={"ALICE_KEY": "sk-alice-secret"}, folder=tmp_path)
    spent.write_text("no folder any more")
    with pytest.raises(StoreError, match=r"spent\.json, with what the accounts have spent, cannot be written"):
        accounts.close()


async def test_who_sends_half_a_body_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaspo.serving.bodies.IDLE", 0.0)
    head, body = await _half_a_body(tmp_path, key="sk-alice-secret")
    assert head.startswith("HTTP/1.1 408 ")
    assert "connection: close" in head.lower()
    assert "body" in json.loads(body)["error"]["message"]


async def test_a_wrong_key_is_told_before_the_body_is_there(tmp_path: Path) -> None:
    head, _ = await _half_a_body(tmp_path, key="sk-wrong")
    assert head.startswith("HTTP/1.1 401 ")


async def _half_a_body(folder: Path, *, key: str) -> tuple[str, bytes]:
    """What comes back: the head, and the body."""
    config = config_of("http://127.0.0.1:9/v1", keys=[{"name": "alice", "key_env": "ALICE_KEY"}])
    async with open_server(config, environment=KEYS, folder=folder) as (_, address):
        host, _, port = address.removeprefix("http://").removesuffix("/v1").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        told = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in told.lower().splitlines() if line.startswith("content-length:"))
        body = await reader.readexactly(int(length.partition(":")[2]))
        writer.close()
        return told, body


@pytest.mark.parametrize("seconds", ["soon", "nan", "inf"])
async def test_signs_of_life_come_every_number_of_seconds(tmp_path: Path, seconds: str) -> None:
    async with at(tmp_path, config_of("http://127.0.0.1:9/v1")) as (session, _):
        status, body, _ = await post(session, x_metaspo_keep_alive=seconds)
        assert (status, body["error"]["message"]) == (400, "x-metaspo-keep-alive must be a number of seconds.")


async def test_a_body_that_cannot_be_unpacked_is_refused_without_a_word_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    with upstream() as model:
        async with at(tmp_path, config_of(model.url)) as (session, _):
            async with session.post("/v1/chat/completions", data=b"no gzip", headers=headers) as answer:
                assert answer.status == 400
                assert "cannot be read" in (await answer.json())["error"]["message"]
            assert (await post(session))[0] == 200
    assert not caplog.records


async def test_a_body_that_unpacks_to_more_than_may_be_is_refused(tmp_path: Path) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    packed = gzip.compress(b" " * (MAX_OF_BODY + 1))
    async with (
        at(tmp_path, config_of("http://127.0.0.1:9/v1")) as (session, _),
        session.post("/v1/chat/completions", data=packed, headers=headers) as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["message"]) == (400, "The body is over 64 MiB.")
