"""`metaspo serve` as a process: it says where it is, ends when it is told to, and loses nothing when it is killed."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import here
from sizes import rest_is_slow

LIMIT = 60.0


@contextmanager
def running(folder: Path, *arguments: str, before: Sequence[str] = ()) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process, and its address; `before`: options of all commands."""
    command = [sys.executable, "-m", "metaspo", *before, "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.communicate()


def ask(address: str, question: str) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": question}], "temperature": 0}
    request = urllib.request.Request(  # noqa: S310 - the loopback
        f"{address}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:  # noqa: S310
        text: str = json.load(answer)["choices"][0]["message"]["content"]
        return text


@pytest.mark.parametrize("end", rest_is_slow([signal.SIGTERM, signal.SIGINT, signal.SIGKILL]))
def test_it_ends_cleanly_when_told_to_and_what_was_answered_is_never_asked_again(tmp_path: Path, end: int) -> None:
    with ChatServer(lambda request: f"yes to {request.messages[-1].content}") as server:
        (tmp_path / "serve.toml").write_text(f'[[models]]\nmodel = "m"\nendpoints = ["{server.url}"]\n')
        for _ in range(2):
            with running(tmp_path, "serve.toml") as (process, address):
                assert ask(address, "a") == "yes to a"
                process.send_signal(end)
                _, said = process.communicate(timeout=LIMIT)
                assert process.returncode == (0 if end != signal.SIGKILL else -end)
                assert b"Traceback" not in said
    assert server.calls == 1


def test_a_mistake_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "serve.toml").write_text('[[models]]\nmodel = "m"\nendpoints = ["http://127.0.0.1:9/v1"]\n')
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        for arguments, word in (
            (["none.toml"], "none.toml"),
            (["serve.toml", "--host", "192.0.2.1"], "keys"),
            (["serve.toml", "--port", taken], "cannot be listened at"),
        ):
            ended = here("serve", *arguments)
            assert ended.code == 2
            assert word in ended.err
            assert len(ended.err.splitlines()) == 1, "that it serves is not said before it does"
