"""A stand-in for the servers of Langfuse and LangSmith, as far as their clients put prompts there and fetch them."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

BODY_OF_LANGFUSE = {"type", "name", "prompt", "labels", "config", "commitMessage"}
NOW = "2026-12-01T00:00:00Z"
Answer = tuple[int, Mapping[str, Any]]


class Registry:
    """What was put, oldest first: prompts of Langfuse as it answers them, commits of LangSmith by the prompt's name."""

    def __init__(self) -> None:
        self.prompts: list[dict[str, Any]] = []
        self.commits: dict[str, list[dict[str, Any]]] = {}
        self.address = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """What a server answers to a request."""
        known: dict[str, Callable[..., Answer]] = {
            "POST /api/public/v2/prompts": self._put_prompt,
            "GET /api/public/v2/prompts/(.+)": self._prompt,
            "GET /repos/-/([^/]+)": self._repository,
            "POST /repos": self._put_repository,
            "GET /commits/-/([^/]+)": self._commits,
            "POST /commits/-/([^/]+)": self._commit,
            "GET /commits/-/([^/]+)/latest": self._latest,
            "GET /settings": lambda _: (200, {"id": "1", "display_name": "d", "created_at": NOW}),
            "GET /info": lambda _: (200, {}),
        }
        for pattern, answered in known.items():
            if match := re.fullmatch(pattern, f"{method} {path.rstrip('/')}"):
                return answered(body, *match.groups())
        return 404, {"detail": f"nothing at {path}"}

    def _put_prompt(self, body: dict[str, Any]) -> Answer:
        if set(body) != BODY_OF_LANGFUSE:
            return 400, {"message": f"keys: {sorted(body)}"}
        version = 1 + sum(each["name"] == body["name"] for each in self.prompts)
        self.prompts.append({**body, "version": version, "tags": [], "resolutionGraph": None})
        return 201, self.prompts[-1]

    def _prompt(self, _: dict[str, Any], name: str) -> Answer:
        found = [each for each in self.prompts if each["name"] == unquote(name)]
        return (200, found[-1]) if found else (404, {"message": "no such prompt"})

    def _repository(self, _: dict[str, Any], name: str) -> Answer:
        times = {"created_at": NOW, "updated_at": NOW}
        counts = dict.fromkeys(("num_likes", "num_downloads", "num_views", "num_commits"), 0)
        flags: dict[str, Any] = {"is_public": False, "is_archived": False, "tags": [], "owner": None}
        said = {"repo_handle": name, "id": "1", "tenant_id": "1", "full_name": f"-/{name}", **times, **counts, **flags}
        return (200, {"repo": said}) if name in self.commits else (404, {"detail": "no such prompt"})

    def _put_repository(self, body: dict[str, Any]) -> Answer:
        name = body["repo_handle"]
        if not re.fullmatch("[a-z][a-z0-9_-]*", name):
            return 400, {"detail": "not a name of a prompt"}
        self.commits[name] = []
        return self._repository({}, name)

    def _commits(self, _: dict[str, Any], name: str) -> Answer:
        return 200, {"commits": self.commits[name][::-1], "total": len(self.commits[name])}

    def _commit(self, body: dict[str, Any], name: str) -> Answer:
        latest = self.commits[name][-1]["commit_hash"] if self.commits[name] else None
        if body["parent_commit"] != latest:
            return 409, {"detail": "another commit came between"}
        self.commits[name].append({**body, "commit_hash": f"{len(self.commits[name]) + 1:08x}", "id": "1"})
        return 200, {"commit": self.commits[name][-1]}

    def _latest(self, _: dict[str, Any], name: str) -> Answer:
        return 200, {**self.commits[name][-1], "examples": []}


@contextmanager
def registry() -> Iterator[Registry]:
    """One that answers at `address`, to whoever shows a key."""
    held = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            has_key = self.headers.get("authorization") or self.headers.get("x-api-key")
            told = held.answer(self.command, urlsplit(self.path).path, body) if has_key else (401, {"detail": "no key"})
            sent = json.dumps(told[1]).encode()
            self.send_response(told[0])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it overrides
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    held.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
