"""How a config says where a server is and what goes with each request to it; what must never be said there is not."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import Answer, chat, response, serving
from world import make_config

from metaspo import ConfigError, Message, RunConfig
from metaspo.backends import BackendError, OpenAIAPI, OpenAICompatible, Request, Sampling
from metaspo.backends.errors import TimedOut
from metaspo.engine.config.checks import check_config
from metaspo.engine.config.lanes import make_backends, make_lane
from metaspo.engine.config.load import parse_config
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import lane_settings, model_of
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.identity import fingerprint

SECRET = "hush-hush-0123"
REQUEST = Request(model="m", messages=(Message("user", "Is it so?"),))
TASK = {"name": "t", "role": "target", "test": "t.jsonl", "user_prompt": "{question}"}


def table(**changes: object) -> ModelTable:
    return ModelTable.model_validate({"model": "m", "endpoints": ["http://127.0.0.1:1/v1"], **changes})


def parse(base: dict[str, Any], **more: object) -> RunConfig:
    return parse_config({"base": {"model": "m", **base}, "tasks": [TASK], **more}, environment={})


@pytest.mark.parametrize("backend", ["local", "vllm"])
def test_what_is_not_installed_is_needed_by_nobody_who_asks_nothing(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """A run that finds all its answers in the cache goes to its end on a machine that cannot start the model."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    said = {"model": "smollm2", "backend": backend, "endpoints": []}
    managed = {"vllm": {"command": ["no-vllm"], "gpus": [0]}} if backend == "vllm" else {}
    assert make_backends(ModelTable.model_validate({**said, **managed}), environment={})


async def head_of(environment: dict[str, str], **changes: object) -> str:
    """The head of a request as it arrives, `URL` in the endpoints standing for the server's."""
    async with serving(response(200, chat())) as (url, seen):
        said = json.loads(json.dumps(changes).replace("URL", url))
        (backend,) = make_backends(ModelTable.model_validate({"model": "m", **said}), environment=environment)
        await backend.complete(REQUEST, time_limit=30)
        await backend.aclose()
    return seen.heads[0]


async def test_an_endpoint_may_be_a_table_with_headers_that_name_variables() -> None:
    """Alone or within a text, with braces or without."""
    headers = {"api-key": "$THE_KEY", "x-gate-token": "Token ${THE_KEY}!", "X-Title": "metaspo"}
    head = await head_of({"THE_KEY": f" {SECRET} "}, endpoints=[{"url": "URL/v1", "headers": headers}])
    assert f"api-key: {SECRET}\r\n" in head
    assert f"x-gate-token: Token {SECRET}!\r\n" in head
    assert "X-Title: metaspo\r\n" in head
    assert "uthorization" not in head


async def test_each_endpoint_may_have_a_key_of_its_own() -> None:
    """It goes before the model's."""
    keys = {"MINE": SECRET, "OURS": "another-key"}
    head = await head_of(keys, api_key_env="OURS", endpoints=[{"url": "URL/v1", "api_key_env": "MINE"}])
    assert f"Bearer {SECRET}" in head
    assert "Bearer another-key" in await head_of(keys, api_key_env="OURS", endpoints=["URL/v1"])


@pytest.mark.parametrize("backend", ["openai", "openai-compatible"])
async def test_an_endpoint_is_given_up_after_its_own_time_limit_where_that_is_the_shorter(backend: str) -> None:
    async with serving(Answer(hang=True)) as (url, _):
        endpoint = {"url": url, "time_limit": 0.05}
        given = {"backend": backend, "model": "m", "endpoints": [endpoint]}
        (server,) = make_backends(ModelTable.model_validate(given), environment={"OPENAI_API_KEY": SECRET})
        for longest, said in ((600.0, "0.05"), (0.02, "0.02")):
            with pytest.raises(TimedOut, match=f"within {said} seconds"):
                await server.complete(REQUEST, time_limit=longest)
        await server.aclose()


def test_an_endpoint_that_is_to_wait_longer_than_its_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="time_limit = 900, and the model 600"):
        parse({"endpoints": [{"url": "http://h/v1", "time_limit": 900}]})
    parse({"endpoints": [{"url": "http://h/v1", "time_limit": 900}], "time_limit": 900})


async def test_a_key_that_the_config_names_is_the_one_that_is_sent() -> None:
    """Also by the backend that has a usual variable, which is set as well."""
    keys = {"GATEWAY_KEY": SECRET, "OPENAI_API_KEY": "sk-not-meant-for-there"}
    head = await head_of(keys, backend="openai", api_key_env="GATEWAY_KEY", endpoints=["URL/v1"])
    assert f"Bearer {SECRET}" in head
    assert "not-meant" not in head


async def test_openais_backend_goes_where_the_environment_says_with_the_key_that_is_meant_for_there() -> None:
    """A `.env` file counts, too; and an endpoint of the config goes before it."""
    async with serving(response(200, chat())) as (url, seen), serving(response(200, chat())) as (other, there):
        environment = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": f"{url}/v1"}
        for endpoints in ([], [other]):
            openai = ModelTable.model_validate({"backend": "openai", "model": "m", "endpoints": endpoints})
            (backend,) = make_backends(openai, environment=environment)
            assert isinstance(backend, OpenAIAPI)
            await backend.complete(REQUEST, time_limit=30)
            await backend.aclose()
    assert (len(seen.heads), len(there.heads)) == (1, 1)


def test_an_address_in_the_environment_that_is_none_is_a_mistake_to_be_told() -> None:
    openai = ModelTable(backend="openai", model="m")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
        make_backends(openai, environment={"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "gateway"})


def test_a_header_that_holds_the_key_takes_the_place_of_openais_variable() -> None:
    """Azure's kind: OPENAI_API_KEY need not be there, and would not be sent there if it were."""
    azure = {"url": "https://n.openai.azure.com/openai/v1", "headers": {"api-key": "$AZURE_KEY"}}
    openai = ModelTable.model_validate({"backend": "openai", "model": "m", "endpoints": [azure]})
    make_backends(openai, environment={"AZURE_KEY": SECRET})


def test_a_variable_that_is_missing_is_asked_for_by_name() -> None:
    headers = {"api-key": "$AZURE_KEY"}
    with pytest.raises(ConfigError, match=r"AZURE_KEY is not set: .*\.env"):
        make_backends(table(endpoints=[{"url": "http://h/v1", "headers": headers}]), environment={})


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-\udce9", "sk-\u200b"])
@pytest.mark.parametrize("more", [{"api_key_env": "MY_KEY"}, {"headers": {"api-key": "$MY_KEY"}}])
def test_a_key_that_no_header_can_hold_is_told_by_the_name_of_its_variable(key: str, more: dict[str, object]) -> None:
    """Two lines, bytes that are no text, what was copied along and cannot be seen; and the key itself is not shown."""
    with pytest.raises(ConfigError, match="MY_KEY holds") as caught:
        make_backends(table(endpoints=[{"url": "http://h/v1", **more}]), environment={"MY_KEY": key})
    assert "sk-" not in str(caught.value)


def test_a_proxy_that_cannot_be_used_is_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        make_backends(table(endpoints=["https://h/v1"]), environment={"ALL_PROXY": "socks5://p:1"})


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ({"url": "http://h/v1", "headers": {"Authorization": SECRET}}, "environment variable"),
        ({"url": "http://h/v1", "headers": {"api-key": SECRET}}, "environment variable"),
        ({"url": "http://h/v1", "headers": {"X-Token": SECRET}}, "environment variable"),
        ({"url": "http://h/v1", "headers": {"Cookie": SECRET}}, "environment variable"),
        ({"url": "http://h/v1", "headers": {"a b": SECRET}}, "HTTP"),
        ({"url": "http://h/v1", "headers": {"X": f"{SECRET}\r\nY: z"}}, "HTTP"),
        ({"url": "http://h/v1", "headers": {"Host": SECRET}}, "Host"),
        ({"url": "http://h/v1", "api_key_env": SECRET}, "NAME"),
        ({"url": f"http://h/v1?key={SECRET}"}, "query"),
        ({"url": f"http://u:{SECRET}@h/v1"}, "password"),
        (f"http://u:{SECRET}@h/v1", "password"),
        ({"url": "http://h/v1", "ca_file": f"here/{SECRET}"}, "whole path"),
        ({"url": "http://h/v1", "key": SECRET}, "unknown key"),
        ({"headers": {}}, "missing"),
    ],
)
def test_what_an_endpoint_must_not_say_is_refused_without_repeating_it(endpoint: object, words: str) -> None:
    """It may be a key."""
    with pytest.raises(ConfigError, match=words) as caught:
        parse({"endpoints": [endpoint]})
    assert SECRET not in str(caught.value)
    assert "base.endpoints.0" in str(caught.value)


def test_no_value_of_a_header_is_written_to_the_run_directory(tmp_path: Path) -> None:
    """Only that there is one, and which variable it comes from."""
    headers = {"x-corp": SECRET, "api-key": "$AZURE_KEY"}
    config = parse({"endpoints": [{"url": "http://h/v1", "headers": headers}]})
    directory = RunDirectory(tmp_path)
    directory.write_config(config, folder=tmp_path, data=tmp_path)
    written = directory.config.read_text(encoding="utf-8")
    assert SECRET not in written
    assert "x-corp" in written
    assert "$AZURE_KEY" in written


def test_a_config_with_tables_can_be_changed_and_read_again() -> None:
    """As `--set` and the methods of a comparison do it: nothing is lost on the way."""
    config = parse({"endpoints": ["http://g/v1", {"url": "http://h/v1", "headers": {"x-corp": SECRET}}]})
    assert parse_config(config.model_dump(exclude_unset=True)) == config


def test_where_a_run_goes_on_does_not_depend_on_its_endpoints() -> None:
    """And a run without roles of its own keeps the name that it had before there were any."""
    plain = parse({"endpoints": ["http://g/v1"]})
    assert fingerprint(plain, []) == fingerprint(parse({"endpoints": [{"url": "http://h/v1"}]}), [])
    assert fingerprint(plain, []) != fingerprint(parse({"endpoints": ["http://g/v1"], "roles": "merged"}), [])


@pytest.mark.parametrize("parameter", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("backend", ["openai", "openai-compatible"])
async def test_the_bound_of_an_answer_goes_under_the_name_that_the_server_takes(backend: str, parameter: str) -> None:
    async with serving(response(200, chat())) as (url, seen):
        given = {"backend": backend, "model": "gpt-4o-mini", "endpoints": [url], "token_limit_parameter": parameter}
        (server,) = make_backends(ModelTable.model_validate(given), environment={"OPENAI_API_KEY": SECRET})
        await server.complete(REQUEST, time_limit=30)
        await server.aclose()
    assert {"max_tokens", "max_completion_tokens"} & json.loads(seen.bodies[0]).keys() == {parameter}


def test_a_model_without_a_temperature_is_asked_without_one() -> None:
    """And that is another question than one at any temperature."""
    model = model_of(table(temperature="none"), lane="optimizer", temperature=1.0)
    assert model.sampling.temperature is None
    with pytest.raises(ConfigError, match=r"base\.temperature"):
        parse({"endpoints": ["http://h/v1"], "temperature": "hot"})


def test_an_optimizer_without_a_system_role_is_told_everything_by_its_user() -> None:
    """What stood in the system role goes before it; nothing is lost, nothing else changes."""
    messages = (Message("system", "You write prompts."), Message("user", "Write one."), Message("assistant", "No."))
    merged = model_of(table(roles="merged"), lane="optimizer", temperature=1.0).request(messages)
    assert merged.messages == (Message("user", "You write prompts.\n\nWrite one."), Message("assistant", "No."))
    separate = model_of(table(), lane="optimizer", temperature=1.0).request(messages)
    assert separate.messages == messages


def test_a_cap_in_dollars_wants_to_know_every_price() -> None:
    """Without one its calls would cost nothing in our books, and the cap hold nothing."""
    unpriced = {"model": "m", "endpoints": ["http://h/v1"]}
    priced = {**unpriced, "prices": {"input": 0, "output": 0}}
    budget = {"dollars": 5.0}
    for role in ("base", "optimizer"):
        models = {"base": priced, "optimizer": priced, role: unpriced}
        with pytest.raises(ConfigError, match=rf"budget\.dollars: .*{role}\.prices"):
            check_config(make_config({**models, "budget": budget}), source="x.toml")
        check_config(make_config({**models, "budget": {"calls": 5}}), source="x.toml")
    check_config(make_config({"base": priced, "optimizer": None, "budget": budget}), source="x.toml")
    known = {
        "base": {"backend": "local", "model": "smollm2"},
        "optimizer": {"backend": "openai", "model": "gpt-4o-mini"},
    }
    check_config(make_config({**known, "budget": budget}), source="x.toml")


def test_a_server_that_costs_nothing_is_driven_as_ones_own() -> None:
    """Calls that nobody waits for any more are broken off."""
    assert lane_settings(table(prices={"input": 0, "output": 0})).billing == "time"
    assert lane_settings(table(prices={"input": 0, "output": 1})).billing == "tokens"


def test_endpoints_of_one_model_are_replicas_whatever_form_they_have() -> None:
    backends = make_backends(table(endpoints=["http://a:1", {"url": "http://b:2/v1"}]), environment={})
    assert [backend.name for backend in backends] == ["a:1", "b:2"]
    assert all(isinstance(backend, OpenAICompatible) for backend in backends)


async def test_a_server_is_asked_by_its_own_name_for_the_model() -> None:
    """As another provider has one; whatever it is asked for, and by either backend."""
    for backend in ("openai", "openai-compatible"):
        async with serving(response(200, chat())) as (url, seen):
            endpoint = {"url": url, "model": "org/m"}
            given = {"backend": backend, "model": "m", "endpoints": [endpoint]}
            (server,) = make_backends(ModelTable.model_validate(given), environment={"OPENAI_API_KEY": SECRET})
            assert server.name.endswith(" (org/m)")
            await server.complete(REQUEST, time_limit=30)
            raw = Request(model="m", messages=(), sampling=Sampling(extra='{"input": "x"}'), path="embeddings")
            with contextlib.suppress(BackendError):  # what comes back is a chat
                await server.complete(raw, time_limit=30)
            await server.aclose()
        assert [json.loads(body)["model"] for body in seen.bodies] == ["org/m", "org/m"]


def test_endpoints_that_stand_by_are_the_lanes_standby() -> None:
    endpoints = [{"url": "http://a:1", "standby": True}, "http://b:2", {"url": "http://c:3", "standby": True}]
    lane = make_lane("m", table(endpoints=endpoints), environment={})
    assert [backend.name for backend in lane.backends] == ["b:2"]
    assert [backend.name for backend in lane.standby] == ["a:1", "c:3"]


def test_somebody_has_to_be_asked_first() -> None:
    with pytest.raises(ConfigError, match="base: every endpoint has standby = true"):
        parse({"endpoints": [{"url": "http://a:1", "standby": True}]})
