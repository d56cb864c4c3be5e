"""The embedded model's server process, from its first line to its end, around a stand-in for llama.cpp.

The stand-in serves HTTP as llama.cpp does and answers with what it was told; the process around it is the real one.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from test_backends_local import started, wait_until_gone

from metaspo.backends import ConnectionLost, LocalModel, LocalServerFailed, Message, Request, Unreachable
from metaspo.backends.managed.local_server import ServerSettings

STANDIN = """
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

print("loading", flush=True)  # a library that writes to standard output


def CommonParams():
    batch, calls = SimpleNamespace(n_threads=0), SimpleNamespace(n_threads=0)
    return SimpleNamespace(
        model=SimpleNamespace(path=""), cpuparams=calls, cpuparams_batch=batch, ui=True, offline=False, port=8080,
        endpoint_metrics=False, verbosity=9,
    )


class Server:
    def __init__(self, params):
        if "gives_up" in params.model.path:
            print("cannot load", params.model.path, file=sys.stderr)
            os._exit(1)
        if "never" in params.model.path:
            time.sleep(600)
        def end(*_):
            open(params.model.path + ".ended", "w").close()
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
        told = {
            "path": params.model.path, "alias": sorted(params.model_alias), "parallel": params.n_parallel,
            "context": params.n_ctx, "threads": [params.cpuparams.n_threads, params.cpuparams_batch.n_threads],
            "port": params.port, "offline": params.offline, "ui": params.ui, "metrics": params.endpoint_metrics,
            "verbosity": params.verbosity, "omp": os.environ.get("OMP_WAIT_POLICY"),
        }

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def send(self, body, status=200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/metrics":
                    self.send(b"llamacpp:requests_processing 3\\nllamacpp:requests_deferred 1\\n")
                    return
                row = {"id": told["alias"][0], "meta": {"n_ctx": told["context"] // told["parallel"]}}
                self.send(json.dumps({"data": [row]}).encode())

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = asked["messages"][-1]["content"]
                if self.headers["Authorization"] != "Bearer " + params.api_keys[0]:
                    self.send(b"{}", 401)
                elif text == "die" or (text == "die once" and not os.path.exists(told["path"] + ".died")):
                    open(told["path"] + ".died", "w").close()
                    os._exit(9)
                elif text == "hang up":
                    self.close_connection = True
                else:
                    message = {"role": "assistant", "content": json.dumps(told)}
                    usage = {"prompt_tokens": 1, "completion_tokens": 1}
                    choice = {"message": message, "finish_reason": "stop"}
                    self.send(json.dumps({"choices": [choice], "usage": usage}).encode())

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", params.port), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{server.server_address[1]}"
"""


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file; whoever imports llama.cpp gets the stand-in."""
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "xllamacpp.py").write_text(STANDIN)
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("PYTHONPATH", str(packages))
    monkeypatch.setenv("METASPO_CACHE_HOME", str(tmp_path / "home"))
    path = tmp_path / "toy.gguf"
    path.write_bytes(b"GGUF" + bytes(8))
    return path


@asynccontextmanager
async def open_model(
    path: Path, *, threads: int | None = None, parallel: int = 1, context: int = 64, start_limit: float = 60.0
) -> AsyncIterator[LocalModel]:
    model = LocalModel(path, threads=threads, parallel=parallel, context=context, start_limit=start_limit)
    try:
        yield model
    finally:
        await model.aclose()


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(f"{name}.gguf"))


def ask(text: str) -> Request:
    return Request(model="toy", messages=(Message("user", text),))


async def test_a_server_is_told_what_it_was_made_for_and_ends_with_its_model(gguf: Path) -> None:
    """Address, context, gauges, key, threads, log; one start for all who ask at once; a start of its own after that."""
    async with open_model(gguf, threads=3, parallel=2, context=512) as model:
        assert (model.is_running, model.pid, model.address) == (False, None, None)
        assert "not running" in repr(model)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(model.start)
        pid = started(model)
        assert model.is_running
        assert f"pid {pid}, started 1 times" in repr(model)
        assert (model.address or "").startswith("http://127.0.0.1:")
        told = json.loads((await model.complete(ask("hello"), time_limit=20)).completion.text)
        assert told == {
            "path": str(gguf),
            "alias": ["toy"],
            "parallel": 2,
            "context": 1_024,
            "threads": [3, 3],
            "port": 0,
            "offline": True,
            "ui": False,
            "metrics": True,
            "verbosity": 2,
            "omp": "passive",
        }
        info = await model.probe()
        assert (info.models, info.context) == (("toy",), 512)
        assert await model.load() == {"running": 3.0, "waiting": 1.0}
        assert model.name == "local/toy"
        assert model.log_path == gguf.parent / "home" / "metaspo" / "logs" / "toy.log"
        assert "loading" in model.log_path.read_text(), "what the library says stands in the log, not in the answer"
        assert os.getpgid(pid) != os.getpgid(0), "Ctrl-C in the terminal does not reach it"
        arguments = await anyio.Path(f"/proc/{pid}/cmdline").read_text()
        assert len(arguments.rstrip("\0").split("\0")) == 3, "the interpreter, -P and the file, and so no key"
        await model.aclose()
        await wait_until_gone(pid)
        assert await anyio.Path(f"{gguf}.ended").exists(), "it was asked to end before it was made to"
        assert (model.is_running, model.pid, model.address, await model.load()) == (False, None, None, {})
        await model.start()
        assert "started 2 times" in repr(model)
        assert model.log_path.read_text().count("loading") == 1, "of the latest start alone"


async def test_a_server_found_dead_is_started_once_for_all_and_once_for_each_call(gguf: Path) -> None:
    """Killed before the call, or by it; a call that kills two says so; a broken connection alone starts nothing."""
    async with open_model(gguf, parallel=1) as model:
        await model.start()
        os.kill(started(model), signal.SIGKILL)
        answers = await asyncio.gather(*(model.complete(ask("hello"), time_limit=20) for _ in range(3)))
        assert len({answer.completion.text for answer in answers}) == 1
        assert "started 2 times" in repr(model)
        first = started(model)
        with pytest.raises(ConnectionLost):
            await model.complete(ask("hang up"), time_limit=20)
        assert started(model) == first
        assert (await model.complete(ask("die once"), time_limit=20)).completion.text
        assert started(model) != first
        with pytest.raises(Unreachable, match=r"local/toy died twice on one request: see .*toy\.log"):
            await model.complete(ask("die"), time_limit=20)
        assert "started 4 times" in repr(model)


@pytest.mark.parametrize(("name", "limit", "said"), [("gives_up", 30.0, "cannot load"), ("never", 0.2, "")])
async def test_a_server_that_does_not_come_up_is_given_up_and_ended(
    gguf: Path, name: str, limit: float, said: str
) -> None:
    """Because it ends, or because it takes too long; its log says why."""
    async with open_model(renamed(gguf, name), start_limit=limit) as model:
        with pytest.raises(LocalServerFailed, match=f"did not start within {limit:g} seconds or gave up") as caught:
            await model.start()
        assert str(model.log_path) in str(caught.value)
        assert said in model.log_path.read_text()
        assert (model.pid, model.is_running) == (None, False)
        assert "started 0 times" in repr(model)


async def test_a_package_that_is_not_there_after_all_is_said_with_the_command(gguf: Path) -> None:
    """As where it was taken away, or belongs to another interpreter."""
    (gguf.parent / "packages" / "xllamacpp.py").write_text("raise ImportError('gone')")
    async with open_model(gguf) as model:
        with pytest.raises(LocalServerFailed, match=r"pip install 'metaspo\[local\]'"):
            await model.start()


async def test_a_server_ends_with_its_input_which_ends_with_whoever_started_it(gguf: Path) -> None:
    """However that one dies."""
    settings = ServerSettings(path=str(gguf), alias="a", api_key="k", threads=1, parallel=1, context=8)
    command = [sys.executable, "-P", sys.modules[ServerSettings.__module__].__file__ or ""]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send(settings.to_line())
        assert "address" in json.loads(await process.stdout.receive())
        await process.stdin.aclose()
        with anyio.fail_after(20):
            assert await process.wait() == 0


def test_a_model_is_named_by_its_file_and_asks_for_the_threads_there_are(tmp_path: Path) -> None:
    """Eight at most; a name of the hub stays whole, and gets a log in one folder."""
    hub = LocalModel("owner/repo:file")
    assert hub.name == "local/owner/repo:file"
    assert hub.log_path.name == "owner--repo:file.log"
    assert LocalModel(tmp_path / "Toy.GGUF").name == "local/Toy"
    assert 1 <= LocalModel()._threads <= 8
    assert LocalModel(threads=20)._threads == 20
