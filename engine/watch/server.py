"""Serves the live page on the loopback: what run directories say, and their journals as server-sent events.

A page shows what models wrote as text, nothing is loaded from elsewhere; a request that names another host is refused.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import orjson
from aiohttp import ClientConnectionResetError, web

from metaspo.cache import StoreError
from metaspo.engine.differences import differences
from metaspo.engine.errors import ConfigError, RunDirectoryError
from metaspo.engine.evaluation.task_rows import task_rows
from metaspo.engine.journal.address import Address
from metaspo.engine.listening import IDLE, Door
from metaspo.engine.optimize.test_splits import gains
from metaspo.engine.runs import listing
from metaspo.engine.runs.answers import RunAnswers, run_answers
from metaspo.engine.runs.directory import RunDirectory, find_runs
from metaspo.engine.studies.noted import noted_grids
from metaspo.engine.tasks import MetricError, TaskError
from metaspo.engine.watch.follower import Follower
from metaspo.engine.watch.state import Data, gain_data, grids_of, proposal_at, table_of
from metaspo.engine.watch.stop import stop
from metaspo.engine.watch.stream import Stream

PORT = 8410
LOOPBACK = "127.0.0.1"
ROOM = 32  # clients at a time, of the files that are kept free beside the calls
MAX_ANSWERS = 300  # examples of a task
HOSTS = {"127.0.0.1", "localhost", "[::1]", "::1"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
ASKED_BY = "X-Metaspo"  # a header that a foreign page may not send without being allowed to
PAGES = {"/": ("page.html", "text/html"), "/watch.js": ("watch.js", "text/javascript")}
PAGES["/watch.css"] = ("watch.css", "text/css")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Watch:
    """The runs in a folder, or one run, for whoever looks.

    Args:
        folder: a folder of run directories, or one run's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._followers: dict[str, Follower] = {}
        self._answers: dict[tuple[str, int], RunAnswers | str] = {}
        self._reading = asyncio.Lock()

    def runs(self) -> list[RunDirectory]:
        """Those there are now, the latest first."""
        run = RunDirectory(self._folder)
        return [run] if run.config.is_file() else find_runs(self._folder)

    def follower(self, name: str) -> Follower:
        """Of a run by its name. Raises `HTTPNotFound`."""
        run = next((run for run in self.runs() if run.name == name), None)
        if run is None:
            raise web.HTTPNotFound(text=f"there is no run '{name}'")
        return self._followers.setdefault(name, Follower(run))

    async def answers_of(self, follower: Follower) -> RunAnswers | str:
        """A run's answers after its last selection, or why there are none; read once for all who look."""
        await self.catch_up(follower)
        key = (follower.run.name, len(follower.view.history.points({})) + bool(follower.part("result")) * 1_000_000)
        async with self._reading:
            if key not in self._answers:
                self._answers = {other: said for other, said in self._answers.items() if other[0] != key[0]}
                self._answers[key] = await asyncio.to_thread(_read_answers, follower.run)
            return self._answers[key]

    async def catch_up(self, follower: Follower) -> None:
        """Fold in all there is."""
        more = True
        while more:
            more = follower.advance()
            await asyncio.sleep(0)

    async def listed(self, _request: web.Request) -> web.Response:
        """The list of runs, with how far those are that go on."""
        lines = await asyncio.to_thread(_lines, self.runs())
        noted = await asyncio.to_thread(noted_grids, self._folder)
        grids = grids_of(noted, {line["name"]: line for line in lines})
        columns = [name for name in listing.COLUMNS if name != "run"]
        return _json({"columns": columns, "runs": lines, "grids": grids})

    async def answers(self, request: web.Request) -> web.Response:
        """A run's answers as tables, and the gain that they amount to."""
        follower = self.follower(request.query.get("run", ""))
        answers = await self.answers_of(follower)
        if isinstance(answers, str):
            return _json({"why": answers, "tasks": [], "gains": [], "table": None})
        tasks = [task.as_json() for task in answers.tasks]
        for task in tasks:
            task["left_out"] = max(0, len(task["examples"]) - MAX_ANSWERS)
            task["examples"] = task["examples"][:MAX_ANSWERS]
        return _json(
            {
                "why": answers.missing,
                "after": answers.after,
                "tasks": tasks,
                "gains": [gain_data(gain) for gain in gains(answers.tests)],
                "table": table_of(task_rows(answers.tests)) if answers.tests else None,
            }
        )

    async def candidate(self, request: web.Request) -> web.Response:
        """One proposal in full: what changed against its parent, and what the optimizer said on the way to it."""
        follower = self.follower(request.query.get("run", ""))
        await self.catch_up(follower)
        proposed = proposal_at(follower, request.query.get("address", ""))
        if proposed is None:
            raise web.HTTPNotFound(text="there is no such candidate")
        spans = await asyncio.to_thread(differences, proposed.parent, proposed.text)
        place = Address.parse(proposed.address).words
        return _json({**asdict(proposed), "place": place, "spans": [asdict(span) for span in spans]})

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a run as Ctrl-C does. Only our own page may ask: another one cannot send the header."""
        if request.headers.get(ASKED_BY) != "watch" or not _is_own(request):
            raise web.HTTPForbidden(text="only the page itself may stop a run")
        follower = self.follower(request.query.get("run", ""))
        await self.catch_up(follower)
        if why := stop(follower):
            raise web.HTTPConflict(text=why)
        return web.Response(status=202, headers=HEADERS)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """A run's state and candidates as they change, and its journal's lines as they come."""
        follower = self.follower(request.query.get("run", ""))
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        with suppress(ClientConnectionResetError, ConnectionResetError):  # who asked may have left already
            await response.prepare(request)
            await Stream(response, follower, request.headers.get("Last-Event-ID", "")).run()
        return response


def _is_own(request: web.Request) -> bool:
    """Whether it comes from a page of this server, as far as the browser says."""
    origin = request.headers.get("Origin")
    return origin is None or origin == f"http://{request.host}"


def _read_answers(run: RunDirectory) -> RunAnswers | str:
    try:
        return asyncio.run(run_answers(run))
    except (ConfigError, TaskError, MetricError, StoreError, RunDirectoryError) as reason:
        return str(reason)


def _lines(runs: list[RunDirectory]) -> list[Data]:
    told = []
    for run, line in zip(runs, listing.list_runs(runs), strict=True):
        live = Follower(run).part("live")
        share = live["settled"] / live["planned"] if live.get("planned") else None
        texts = [text(line) for name, text in listing.COLUMNS.items() if name != "run"]
        gain = "" if line.gain is None else f"{100 * line.gain:+z.1f}"
        score = "" if line.after is None else f"{line.after:.1%}"
        told.append({"name": run.name, "state": line.state, "share": share, "texts": texts, "score": gain or score})
    return told


def _json(data: object) -> web.Response:
    return web.Response(body=orjson.dumps(data), content_type="application/json", headers=HEADERS)


@web.middleware
async def only_this_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses requests by another name than this machine's own: a foreign page that has its name point here."""
    name = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdecimal() else request.host
    if name not in HOSTS:
        raise web.HTTPForbidden(text="this page is served to this machine alone")
    return await handler(request)


def watch_app(folder: Path) -> web.Application:
    """The application; `folder` is a folder of run directories, or one run's own."""
    watch = Watch(folder)
    app = web.Application(middlewares=[only_this_host])
    for path, (name, kind) in PAGES.items():
        text = files(__package__).joinpath(name).read_text(encoding="utf-8")
        app.router.add_get(path, _page(text, kind))
    app.router.add_get("/runs", watch.listed)
    app.router.add_get("/answers", watch.answers)
    app.router.add_get("/candidate", watch.candidate)
    app.router.add_get("/events", watch.events)
    app.router.add_post("/stop", watch.stop)
    return app


def _page(text: str, kind: str) -> Handler:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind, charset="utf-8", headers=HEADERS)

    return page


@asynccontextmanager
async def serve_watch(folder: Path, *, port: int | None = None) -> AsyncIterator[str]:
    """Serve the page on the loopback while the block goes on; yields its address.

    Args:
        port: `PORT` if left out, or any free one where that is taken.

    Raises:
        ConfigError: if the port that was asked for cannot be had.
    """
    bound = bind(port)
    async with serving(folder, bound):
        yield address_of(bound)


@asynccontextmanager
async def serving(folder: Path, bound: socket.socket) -> AsyncIterator[None]:
    """Serve the page on a socket while the block goes on."""
    app = watch_app(folder)
    door = Door(app, room=ROOM)
    runner = web.AppRunner(app, shutdown_timeout=0.5, access_log=None, keepalive_timeout=IDLE)
    await runner.setup()
    try:
        async with door.opened_at(runner, [bound]):
            yield
    finally:
        await runner.cleanup()


def address_of(bound: socket.socket) -> str:
    """The page's address."""
    return f"http://{LOOPBACK}:{bound.getsockname()[1]}/"


def bind(port: int | None) -> socket.socket:
    """A socket of the loopback at a port, `PORT` or any free one if left out. Raises `ConfigError`."""
    for number in (PORT, 0) if port is None else (port,):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((LOOPBACK, number))
        except OSError as error:
            bound.close()
            if number == 0 or port is not None:
                raise ConfigError(f"--port {number}: cannot be served on: {error.strerror}; choose another") from None
        else:
            return bound
    raise AssertionError("a free port is always found, or refused")
