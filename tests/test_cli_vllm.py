"""`backend = "vllm"` from the command line: every command starts the servers it needs, and leaves none.

The program is a stand-in (`fake_vllm`), whose answers come from a server of the test's.
"""

import os
import select
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import Ended, apart, end, here, result_bytes, start, write_project
from fake_vllm import Behaviour, Installed, install
from test_cli_check import PRICES, answer
from test_cli_serve import ask, running

MANAGED = ("--set", "base.backend=vllm", "--set", "base.endpoints=[]", "--set", "base.patience=60")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer) as listening:
        yield listening


def put(folder: Path, server: ChatServer, *plan: Behaviour) -> Installed:
    """The project, and the stand-in on nobody's PATH yet."""
    folder.mkdir(exist_ok=True)
    write_project(folder, server.url, lane=PRICES)
    return install(folder / "bin", *plan, upstream=server.url)


def command(fake: Installed, *arguments: str, gpus: str | None = None) -> Ended:
    return apart(*arguments, *MANAGED, folder=fake.folder.parent, environment=around(fake, gpus=gpus))


def around(fake: Installed, *, gpus: str | None = None) -> dict[str, str]:
    return {"PATH": fake.path, **({} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus})}


def assert_gone(starts: list[dict[str, Any]]) -> None:
    """By the kernel's own notice."""
    for pid in (pid for each in starts for pid in (each["pid"], *each["children"])):
        try:
            notice = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([notice], [], [], 30)[0], f"process {pid} is still there"
        finally:
            os.close(notice)


def assert_keys_are_nowhere(folder: Path, starts: list[dict[str, Any]]) -> None:
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "starts.jsonl"]
    keys = [each["key"].encode() for each in starts]
    assert [path for path in kept if any(key in path.read_bytes() for key in keys)] == []


@pytest.mark.slow
def test_a_run_whose_server_dies_on_the_way_has_the_result_of_any_other(tmp_path: Path, server: ChatServer) -> None:
    """The log is in its directory, with the words of both starts; no key is anywhere, and no process is left."""
    put(tmp_path / "plain", server)
    assert apart("optimize", "run.toml", folder=tmp_path / "plain").code == 0
    fake = put(tmp_path / "managed", server, {"calls": 20, "say": "first"}, {"say": "second"})
    ended = command(fake, "optimize", "run.toml")
    assert (ended.code, ended.errors) == (0, [])
    assert "vllm/answerer/0 died and is started again" in ended.err
    assert result_bytes(fake.folder.parent) == result_bytes(tmp_path / "plain")
    starts = fake.starts()
    (log,) = fake.folder.parent.glob(".metaspo/runs/run-*/vllm-answerer-0.log")
    assert log.read_text() == "first\nsecond\n"
    assert len(starts) == 2
    assert_gone(starts)
    assert_keys_are_nowhere(fake.folder.parent, starts)


@pytest.mark.slow
def test_every_command_that_asks_the_base_model_starts_it(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none where the cache has all answers: a replica for each GPU, in one log folder."""
    fake = put(tmp_path, server)
    monkeypatch.chdir(tmp_path)
    for name, value in around(fake, gpus="0,1").items():
        monkeypatch.setenv(name, value)
    checked = here("check", "run.toml", *MANAGED, "--json").data
    endpoints = [each["endpoint"] for each in checked["servers"] if each["role"] == "base"]
    assert endpoints == ["vllm/answerer/0", "vllm/answerer/1"]
    assert (checked["faults"], checked["advice"]) == ([], [])
    before = len(fake.starts())
    for _ in range(2):
        assert here("evaluate", "run.toml", *MANAGED).code == 0
    starts = fake.starts()
    assert sorted(start["gpus"] for start in starts[before:]) == ["0", "1"]
    assert {path.name for path in tmp_path.glob(".metaspo/runs/logs/*")} == {
        "vllm-answerer-0.log",
        "vllm-answerer-1.log",
    }
    (tmp_path / "grid.toml").write_text('config = "run.toml"\nmethods = ["default", "cot"]\n')
    config = (tmp_path / "run.toml").read_text().replace(f'endpoints = ["{server.url}"]', 'backend = "vllm"', 1)
    (tmp_path / "run.toml").write_text(config)
    compared = here("compare", "grid.toml", "--json")
    assert (compared.code, len(fake.starts())) == (0, len(starts) + 2)
    assert_gone(fake.starts())


def test_serve_keeps_one_that_others_ask(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = put(tmp_path, server)
    for name, value in around(fake, gpus="").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "serve.toml").write_text('[[models]]\nmodel = "m"\nbackend = "vllm"\n')
    with running(tmp_path, "serve.toml") as (process, address):
        assert ask(address, "is a test number 0 even?")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert (tmp_path / ".metaspo" / "serve" / "vllm-m-0.log").is_file()
    assert_gone(fake.starts())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_a_run_however_that_ends(tmp_path: Path, server: ChatServer, number: signal.Signals) -> None:
    fake = put(tmp_path, server)
    server.hold_after(5)
    run = start("optimize", "run.toml", *MANAGED, folder=tmp_path, environment=around(fake))
    server.wait_for(answered=5)
    run.send_signal(number)
    assert end(run).code == (130 if number != signal.SIGKILL else -number)
    assert_gone(fake.starts())


@pytest.mark.parametrize(
    ("plan", "more", "code", "sentence"),
    [
        (
            {"say": "ValueError: Unrecognized model in answerer", "exit": 1},
            {},
            3,
            'ended while starting (exit status 1), with the words "ValueError: Unrecognized model in answerer"',
        ),
        ({"hang": True}, {"base.vllm.start_limit": "0.5"}, 3, "did not answer within 0.5 seconds"),
        ({}, {"base.vllm.command": '["no-vllm"]'}, 2, "starts no-vllm, and there is no such program"),
        ({}, {"base.vllm.tensor_parallel": "2"}, 2, "tensor_parallel = 2 wants as many GPUs, and there are 1 here"),
        ({}, {"base.vllm.options": '["--port=1"]'}, 2, "must not hold '--port'"),
        ({}, {"base.vllm.gpus": "[0, 1, 0]"}, 2, "names 0 twice"),
        ({}, {"base.vllm.gpus": '["0,1"]'}, 2, "the name of one GPU each"),
        ({}, {"base.endpoints": '["http://127.0.0.1:9/v1"]'}, 2, "takes no endpoints"),
        ({}, {"base.backend": "local", "base.vllm.replicas": "2"}, 2, 'goes with backend = "vllm"'),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, server: ChatServer, plan: Behaviour, more: Mapping[str, str], code: int, sentence: str
) -> None:
    fake = put(tmp_path, server, plan)
    changes = [argument for key, value in more.items() for argument in ("--set", f"{key}={value}")]
    ended = apart("optimize", "run.toml", *MANAGED, *changes, folder=tmp_path, environment=around(fake, gpus="0"))
    assert ended.code == code
    assert len(ended.errors) == 1
    assert sentence in ended.errors[0]
    assert_gone(fake.starts())
