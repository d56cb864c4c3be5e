"""A real server on the loopback that answers OpenAI chat completions by a function, counts them, and refuses on demand.

It runs in a thread of its own, so that a test can drive commands in its own process and in others.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from metaspo.backends import Message, Request

Body = dict[str, Any]
Answer = Callable[[Request], str]
Form = Callable[[Request, str], object]
CHAT = "/v1/chat/completions"
LIMIT = 60.0  # seconds that a test waits for the server's next event


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not a completion; status 0 hangs up without a word."""

    status: int
    code: str = ""
    message: str = "no"


BAD_KEY = Refusal(401, "invalid_api_key", "Incorrect API key provided")
UNKNOWN_MODEL = Refusal(404, "model_not_found", "The model does not exist")
NO_CREDIT = Refusal(429, "insufficient_quota", "You exceeded your current quota")
TOO_LONG = Refusal(400, "context_length_exceeded", "maximum context length is 8 tokens")
GONE = Refusal(0)

Refuse = Callable[[Request, int], Refusal | None]


class ChatServer:
    """Use as a context manager; `url` is what a config's `endpoints` holds.

    Attributes:
        refuse: given the request and how many came before it, what to refuse it with; None to answer it.
        asked: how often each body came.
        answered: how often each body was answered with a completion.
        keys: the `Authorization` headers seen.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        refuse: Refuse = lambda _request, _before: None,
        form: Form | None = None,
        path: str = CHAT,
    ) -> None:
        """`form` makes the body of an answer, `path` is where a chat call goes."""
        self.refuse = refuse
        self._form = form or _completion
        self._path = path
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.url = ""
        self._answer = answer
        self._changed = threading.Condition()
        self._hold_after: int | None = None
        self._held = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(LIMIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT)

    @property
    def calls(self) -> int:
        """Completions given."""
        return sum(self.answered.values())

    def hold_after(self, calls: int) -> None:
        """Leave further requests unanswered once so many completions were given."""
        self._hold_after = self.calls + calls

    def release(self) -> None:
        """Answer what is held, and everything from now on."""
        self._hold_after = None
        self._loop.call_soon_threadsafe(self._released.set)

    def wait_until_clients_hung_up(self) -> None:
        """Wait until nobody who was left without an answer waits any more."""
        with self._changed:
            gone = self._changed.wait_for(lambda: self._held == 0, timeout=LIMIT)
        assert gone, f"{self._held} still wait"

    def wait_for(self, *, asked: int = 0, answered: int = 0) -> None:
        """Wait until so many requests came and so many were answered in all."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: sum(self.asked.values()) >= asked and self.calls >= answered, timeout=LIMIT
            )
        assert done, f"{sum(self.asked.values())} asked, {self.calls} answered"

    async def _serve(self) -> None:
        self._loop, self._stop, self._released = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        app = web.Application()
        app.router.add_post(self._path, self._complete)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in ("answerer", "writer")]})

    async def _complete(self, http: web.Request) -> web.Response:
        text = await http.text()
        self.keys.add(http.headers.get("Authorization", ""))
        request, before = _request_of(json.loads(text)), sum(self.asked.values())
        self._count(self.asked, text)
        refusal = self.refuse(request, before)
        if refusal is not None:
            return _refused(http, refusal)
        if self._hold_after is not None and self.calls >= self._hold_after:
            self._count_held(1)
            try:
                await self._released.wait()
            finally:
                self._count_held(-1)
        answer = self._answer(request)
        self._count(self.answered, text)
        return web.json_response(self._form(request, answer))

    def _count_held(self, change: int) -> None:
        with self._changed:
            self._held += change
            self._changed.notify_all()

    def _count(self, counter: Counter[str], text: str) -> None:
        with self._changed:
            counter[text] += 1
            self._changed.notify_all()


def _request_of(body: Body) -> Request:
    messages = tuple(Message(message["role"], message["content"]) for message in body["messages"])
    return Request(model=body["model"], messages=messages)


def _completion(request: Request, text: str) -> Body:
    return {
        "model": request.model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 3},
    }


def _refused(http: web.Request, refusal: Refusal) -> web.Response:
    if refusal.status == 0 and http.transport is not None:
        http.transport.abort()
    error = {"code": refusal.code, "type": "", "message": refusal.message}
    return web.json_response({"error": error}, status=refusal.status or 500)
