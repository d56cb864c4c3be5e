"""What adapters share: the clients of configs' files."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from adapter_world import counting_server

from metaspo import Client
from metaspo.adapters import chat
from metaspo.scheduling import CallFailed
from metaspo.serving import open_client


def written(folder: Path, url: str) -> Path:
    path = folder / "serve.toml"
    path.write_text(f'cache = ""\n[[models]]\nmodel = "m"\nendpoints = ["{url}"]\n')
    return path


def test_threads_that_name_a_config_together_share_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, opened, together = written(tmp_path, "http://127.0.0.1:9/v1"), list[Client](), threading.Barrier(8)

    def opening(path: Path) -> Client:
        opened.append(open_client(path))
        return opened[-1]

    def named(_number: int) -> Client:
        together.wait()
        return chat.client_from(config)

    monkeypatch.setattr(chat, "open_client", opening)
    with ThreadPoolExecutor(8) as threads:
        clients = list(threads.map(named, range(8)))
    for client in opened:
        client.close()
    assert clients == opened * 8


BODY = {"model": "m", "messages": [{"role": "user", "content": "Is it so?"}]}


def test_a_body_for_several_answers_is_as_many_requests_or_refused_where_one_is_wanted() -> None:
    assert chat.requests_of({**BODY, "n": 3}) == [chat.request_of(BODY)] * 3
    with pytest.raises(CallFailed, match="`n` must be 1 here"):
        chat.request_of({**BODY, "n": 3})


@pytest.mark.parametrize("given", [None, 5, b"serve.toml"])
def test_what_is_no_client_and_no_config_is_told_as_that(given: Any) -> None:  # noqa: ANN401 - whatever somebody gives
    for opened in (chat.client_from, chat.Connection):
        with pytest.raises(TypeError, match=r"give a metaspo\.Client or the path of a config; this is a"):
            opened(given)


def test_what_stands_in_an_extra_body_is_a_field_of_the_body() -> None:
    """As OpenAI's own client has it."""
    assert chat.request_of({**BODY, "extra_body": {"top_k": 5}}) == chat.request_of({**BODY, "top_k": 5})
    assert chat.request_of({**BODY, "extra_body": None}) == chat.request_of(BODY)
    with pytest.raises(CallFailed, match="`extra_body` must be a mapping") as failed:
        chat.request_of({**BODY, "extra_body": 5})
    assert failed.value.kind == "request", "no mistake of metaspo's"


PROGRAM = """
import os, sys
from metaspo.adapters.chat import ChatModel
model = ChatModel("m", sys.argv[1], {"temperature": 0})
def asked(content):
    os.write(1, (model.text([{"role": "user", "content": content}]) + "\\n").encode())  # at once: two processes write
asked("in the parent")
child = os.fork()
asked("in the child" if not child else "after it")
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
model.client.close()
asked("after it was closed")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes do not fork there")
def test_what_was_made_of_a_config_s_path_goes_on_in_a_fork_and_when_its_client_was_closed(tmp_path: Path) -> None:
    with counting_server() as server:
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(written(tmp_path, server.url))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split("\n")) == ["", "yes 0", "yes 1", "yes 2", "yes 3"]
