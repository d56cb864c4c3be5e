"""A stand-in for the program `vllm`: it takes the same command line, loads no model, and lives and dies by a plan.

`install` puts it into a folder for the PATH, with the plan beside it. Chat calls go to a server of the test's, where
there is one. It needs nothing but the standard library, so that it starts soon.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

Behaviour = Mapping[str, Any]
"""Of one start, in the order of starts; the last one holds for all further ones.

say: what it prints; exit: it then ends with this status, before it serves
hang: it never gets ready
calls: after so many chat calls it dies in the next one
stubborn: SIGTERM does not end it, nor the child that it has
"""


class Installed(NamedTuple):
    """Where it is.

    Attributes:
        folder: for the PATH.
    """

    folder: Path

    @property
    def path(self) -> str:
        """A PATH on which it comes first."""
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def starts(self) -> list[dict[str, Any]]:
        """Each start so far: its arguments, pid and children, GPUs, port and key."""
        file = self.folder / "starts.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def install(folder: Path, *plan: Behaviour, upstream: str = "") -> Installed:
    """Put a program `vllm` there; `upstream` is the URL of a chat server that answers in its place."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "vllm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {folder} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (folder / "plan.json").write_text(json.dumps({"upstream": upstream, "starts": list(plan) or [{}]}))
    return Installed(folder)


class Handler(BaseHTTPRequestHandler):
    """What of vLLM's HTTP metaspo speaks to."""

    protocol_version = "HTTP/1.1"
    behaviour: ClassVar[Behaviour] = {}
    upstream = ""
    model = ""
    key = ""
    calls = 0
    counting = threading.Lock()

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, b"")
        elif self.path == "/metrics":
            self._answer(200, b'vllm:num_requests_running{engine="0"} 3.0\nvllm:num_requests_waiting{engine="0"} 1.0\n')
        elif self.path == "/v1/models" and self._is_known():
            self._answer(200, json.dumps({"data": [{"id": self.model, "max_model_len": 4096}]}).encode())
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self._is_known():
            return
        with self.counting:
            Handler.calls += 1
        if self.calls > self.behaviour.get("calls", 1 << 60):
            os._exit(9)
        if self.upstream:
            import urllib.request  # which takes as long to import as half of the rest

            asked = urllib.request.Request(  # noqa: S310 - a test's own server
                f"{self.upstream}/chat/completions", body, {"content-type": "application/json"}
            )
            with urllib.request.urlopen(asked, timeout=60) as answered:  # noqa: S310
                self._answer(answered.status, answered.read())
            return
        message = {"role": "assistant", "content": f"pid {os.getpid()}"}
        usage = {"prompt_tokens": 7, "completion_tokens": 2}
        self._answer(
            200,
            json.dumps(
                {"model": self.model, "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
            ).encode(),
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""

    def _is_known(self) -> bool:
        if self.headers["authorization"] == f"Bearer {self.key}":
            return True
        self._answer(401, b'{"error": "Unauthorized"}')
        return False

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(folder: Path, arguments: Sequence[str]) -> None:
    """Live as planned."""
    plan = json.loads((folder / "plan.json").read_text())
    options = dict(pairwise(arguments))
    Handler.model, Handler.key = options["--served-model-name"], os.environ["VLLM_API_KEY"]
    Handler.upstream = plan["upstream"]
    port, file = int(options["--port"]), folder / "starts.jsonl"
    number = len(file.read_text().splitlines()) if file.is_file() else 0
    Handler.behaviour = behaviour = plan["starts"][min(number, len(plan["starts"]) - 1)]
    children = []
    if behaviour.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        children = [subprocess.Popen(["sleep", "600"]).pid]
    told = {"arguments": list(arguments), "pid": os.getpid(), "children": children, "port": port, "key": Handler.key}
    with file.open("a") as starts:
        starts.write(json.dumps({**told, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}) + "\n")
    sys.stderr.write(behaviour.get("say", "INFO 11-28 18:00:00 [api_server.py:1] Starting vLLM") + "\n")
    if "exit" in behaviour:
        sys.exit(behaviour["exit"])
    while behaviour.get("hang"):
        time.sleep(600)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        sys.exit(f"OSError: [Errno {error.errno}] error while attempting to bind on address: Address already in use")
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
