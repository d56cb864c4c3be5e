"""`metaspo serve`: an OpenAI-compatible server over a gateway, on one event loop.

A request is held until it can be answered: providers' refusals for the rate, outages within the lane's patience and
other clients' equal requests are all just waiting. Answers come whole from the lane; who asked for a stream gets it
replayed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from metaspo.backends import ChatCall, Progress, Request, read_chat_call, read_raw_request
from metaspo.backends.chat.raw_reply import PATHS
from metaspo.cache import PASSWORD, open_store
from metaspo.engine.errors import ConfigError
from metaspo.engine.listening import IDLE, Door
from metaspo.engine.runtime.telemetry import exporting
from metaspo.scheduling import Account, Answer, CallFailed, Gateway, call_failed, is_sampled
from metaspo.scheduling.lanes.call_record import to_both
from metaspo.scheduling.open_files import make_room
from metaspo.scheduling.telemetry.call_totals import CallTotals
from metaspo.serving.accounts import Accounts
from metaspo.serving.bodies import MAX_OF_BODY, body_of, json_of, keep_alive_of
from metaspo.serving.config import ServeConfig, make_lanes, revision_of
from metaspo.serving.for_clients import for_client, is_withheld
from metaspo.serving.guard import Guard
from metaspo.serving.lane_log import LaneLog
from metaspo.serving.metrics import metrics_page
from metaspo.serving.questions import Question, Sampler
from metaspo.serving.recent import RecentAnswer, RecentAnswers, digest_of, says_all
from metaspo.serving.replies import (
    EVENTS,
    JSON,
    chat_body_of,
    chat_stream_of,
    headers_of_hit,
)
from metaspo.serving.responses import as_json, held, whole

LOG = logging.getLogger(__name__)
T = TypeVar("T")
STREAM_KEEP_ALIVE = 10.0  # seconds between two signs of life to who waits for a stream


class Server:
    """The handlers of one open gateway.

    Attributes:
        draining: whether it is about to end: what is under way is answered, and it is not ready for more.
    """

    def __init__(
        self, config: ServeConfig, gateway: Gateway, accounts: Accounts, totals: CallTotals, *, log: LaneLog
    ) -> None:
        self._config = config
        self._gateway = gateway
        self._accounts = accounts
        self._totals = totals
        self._log = log
        self._sampler = Sampler()
        self._recent = RecentAnswers()
        lanes = gateway.statistics().lanes
        self._servers = {name: [endpoint.name for endpoint in lane.endpoints] for name, lane in lanes.items()}
        self._models = {model.public_name: model for model in config.models}
        self._revisions = {name: revision_of(model) for name, model in self._models.items()}
        self.draining = False

    def app(self) -> web.Application:
        """What aiohttp serves."""
        app = web.Application(client_max_size=MAX_OF_BODY)
        routes, guarded = app.router, Guard(self._config)
        routes.add_post("/v1/chat/completions", guarded(self._chat))
        for path in PATHS:
            routes.add_post(f"/v1/{path}", guarded(partial(self._raw, path)))
        routes.add_get("/v1/models", guarded(self._list_models))
        routes.add_get("/v1/models/{model:.+}", guarded(self._show_model))
        routes.add_get("/metrics", guarded(self._metrics))
        routes.add_get("/health", self._health)
        routes.add_get("/ready", self._ready)
        routes.add_route("*", "/{path:.*}", guarded(self._nothing))
        return app

    @asynccontextmanager
    async def listening(
        self, app: web.Application, open_at: Callable[[web.AppRunner], AbstractAsyncContextManager[T]]
    ) -> AsyncIterator[T]:
        """Open to clients. At the end what is under way is answered, for `drain` seconds at most; then the gateway is
        closed, and what the accounts have spent is written down."""
        drain = max(self._config.drain, 0.001)  # aiohttp takes 0 for no end
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=drain, keepalive_timeout=IDLE
        )
        await runner.setup()
        try:
            async with open_at(runner) as where:
                yield where
        finally:
            self.draining = True
            await runner.cleanup()
            await self._gateway.aclose()
            self._accounts.close()

    def _account_of(self, http: web.Request) -> Account:
        """Whose key the request has. Raises `CallFailed` for none of ours."""
        return self._accounts.of(http.headers.get("Authorization", ""))

    # What is asked

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        account = self._account_of(http)
        body, plain = await body_of(http), says_all(http.headers)
        digest = digest_of(body)
        if plain and (recent := self._recent.get(digest)) is not None:
            return self._again(recent, account)
        call = read_chat_call(json_of(body))
        every = None if call.stream else keep_alive_of(http)
        question = self._question(call.request, call.choices, account, http)
        if call.stream:
            return await self._stream(http, call, question)
        if not plain or call.choices > 1 or is_sampled(call.request):
            return await self._reply(http, question, partial(chat_body_of, call), every=every)
        answers, request = await self._answers(question), question.requests[0]
        reply = chat_body_of(call, answers)
        self._recent.add(digest, body, reply, lane=question.lane, request=request, answer=answers[0])
        return whole(reply, answers, question.draws)

    def _again(self, recent: RecentAnswer, account: Account) -> web.Response:
        """What was answered before."""
        lane, request, completion, key, dollars, reply, _ = recent
        self._gateway.count_hits(((request, completion),), lane=lane, account=account, keys=(key,))
        return web.Response(body=reply, headers=headers_of_hit(key, request.draw, dollars))

    async def _raw(self, path: str, http: web.Request) -> web.StreamResponse:
        account = self._account_of(http)
        request = read_raw_request(path, json_of(await body_of(http)))
        every = keep_alive_of(http)
        return await self._reply(http, self._question(request, 1, account, http), _raw_body, every=every)

    def _question(self, request: Request, choices: int, account: Account, http: web.Request) -> Question:
        name = request.model
        model = self._models.get(name)
        if model is None:
            raise self._no_model(name)
        revision = self._revisions[name]
        if model.model != name or revision:
            request = replace(request, model=model.model, revision=revision)
        return self._sampler.question(name, request, choices=choices, account=account, headers=http.headers)

    def _no_model(self, name: str) -> CallFailed:
        names = ", ".join(sorted(self._models))
        return CallFailed(f"There is no model {name[:80]!r} here; there are: {names}.", kind="model")

    async def _answers(self, question: Question) -> list[Answer]:
        """The answers, by position. Raises `CallFailed`, for all of them if for one; who leaves waits no longer.

        Who gets none may ask again, and is given the same draws; those that were answered are in the cache.
        """
        try:
            if len(question.requests) == 1:
                return [await self._answer(question, question.requests[0])]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(question, request)) for request in question.requests]
            return [task.result() for task in tasks]
        except BaseException as error:
            question.give_back()
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise

    async def _answer(self, question: Question, request: Request) -> Answer:
        try:
            return await self._gateway.answer(
                request, lane=question.lane, account=question.account, priority=question.priority
            )
        except Exception as error:
            raise self._told(call_failed(error), question.lane) from error

    def _told(self, failed: CallFailed, lane: str) -> CallFailed:
        """A failure as its client is told it; the log has the rest."""
        if is_withheld(failed) and failed.__cause__ is not None:
            self._log.withheld(failed.__cause__, mistake=failed.kind == "bug")
        return for_client(failed, model=lane, servers=self._servers[lane])

    # How it is answered

    async def _reply(
        self,
        http: web.Request,
        question: Question,
        written: Callable[[Sequence[Answer]], bytes],
        *,
        every: float | None,
    ) -> web.StreamResponse:
        """One body; where the client asks for signs of life `every` so many seconds, white space goes before it."""
        if every is None:
            answers = await self._answers(question)
            return whole(written(answers), answers, question.draws)
        work = self._answers(question)
        return await held(http, work, question.draws, written, every=every, content_type=JSON, sign=b" ")

    async def _stream(self, http: web.Request, call: ChatCall, question: Question) -> web.StreamResponse:
        events = partial(chat_stream_of, call)
        return await held(
            http,
            self._answers(question),
            question.draws,
            events,
            every=STREAM_KEEP_ALIVE,
            content_type=EVENTS,
            sign=b": waiting\n\n",
        )

    # What there is to see

    async def _list_models(self, http: web.Request) -> web.StreamResponse:
        self._account_of(http)
        return as_json({"object": "list", "data": [_model(name) for name in self._models]})

    async def _show_model(self, http: web.Request) -> web.StreamResponse:
        self._account_of(http)
        name = http.match_info["model"]
        if name not in self._models:
            raise self._no_model(name)
        return as_json(_model(name))

    async def _metrics(self, http: web.Request) -> web.StreamResponse:
        self._account_of(http)
        page = metrics_page(self._gateway.statistics(), self._accounts.all, self._totals)
        return web.Response(text=page, content_type="text/plain", charset="utf-8")

    async def _health(self, _http: web.Request) -> web.StreamResponse:
        return as_json({"status": "ok"})

    async def _ready(self, _http: web.Request) -> web.StreamResponse:
        lanes = self._gateway.statistics().lanes
        down = sorted(
            name
            for name, lane in lanes.items()
            if lane.stopped or all(endpoint.health == "down" for endpoint in lane.endpoints)
        )
        if self.draining or len(down) == len(lanes):
            return as_json({"status": "draining" if self.draining else "down", "down": down}, status=503)
        return as_json({"status": "ready", "down": down})

    async def _nothing(self, http: web.Request) -> web.StreamResponse:
        routes = http.app.router.routes()
        there = [f"{each.method} {each.resource.canonical}" for each in routes if each.resource is not None]
        plain = ", ".join(each for each in there if not each.startswith(("HEAD ", "* ")))
        raise CallFailed(f"There is no {http.method} {http.path[:80]} here; there are: {plain}.", kind="model")


@asynccontextmanager
async def open_server(
    config: ServeConfig, *, environment: Mapping[str, str], folder: Path = Path(), progress: Progress | None = None
) -> AsyncIterator[tuple[Server, str]]:
    """A server that listens, and its address. At the end it answers what is under way, for `drain` seconds at most.

    Raises `ConfigError` for a missing key or an address that cannot be had, `StoreError` for an unusable cache.
    """
    lanes = make_lanes(config, environment=environment, progress=progress, folder=folder)
    clients = make_room(tuple(lanes.values()), warn=LOG.warning, files_a_call=2)
    accounts = Accounts(config, environment=environment, folder=folder)
    totals, log = CallTotals(), LaneLog()
    async with (
        exporting([config.telemetry]) as exported,
        open_store(config.cache, folder=folder, password=environment.get(PASSWORD, "")) as store,
        Gateway(
            lanes.values(),
            store=store,
            on_event=log,
            on_call=to_both(totals, exported),
            tell_of_hits=exported is not None,
            many_programs=True,
        ) as gateway,
        AsyncExitStack() as stack,
    ):
        server = Server(config, gateway, accounts, totals, log=log)
        app = server.app()
        door = Door(app, room=clients)
        opened = partial(door.opened, host=config.host.strip("[]"), port=config.port)
        try:
            address = await stack.enter_async_context(server.listening(app, opened))
        except OSError as error:
            raise ConfigError(f"{config.host}:{config.port} cannot be listened at: {error.strerror}") from None
        yield server, _url(*address)


async def serve(
    config: ServeConfig,
    *,
    environment: Mapping[str, str],
    started: Callable[[str], None],
    progress: Progress | None = None,
) -> None:
    """Serve until cancelled, which is how it ends; `started` is told the address. Raises as `open_server`."""
    async with open_server(config, environment=environment, progress=progress) as (_, address):
        started(address)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _raw_body(answers: Sequence[Answer]) -> bytes:
    return answers[0].completion.rest.encode()


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "metaspo"}
