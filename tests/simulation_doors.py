"""Other programs among failing servers, on virtual time: through `Client`, and over HTTP through `metaspo serve`.

One seed is the servers, faults and interruptions of its plan (`simulation_plan`), with callers
(`simulation_callers`) in place of its runs. Each session opens the door anew on the same store; the last one is not
interrupted. The ledger and the conduct of the lanes are held to what they are held to with runs.
"""

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import aiohttp
import orjson
from aiohttp import web
from simulation import HORIZON, IN_MEMORY, LANES, Broken, Report
from simulation_callers import KEYS, MODELS, WHO, Caller, Outcomes, draw_callers, draw_caps
from simulation_conduct import Conduct, Door
from simulation_faults import KEY, StartedWire, Wire
from simulation_ledger import Ledger
from simulation_plan import Interruption, Plan, draw_plan
from simulation_process import Process, RunFiles, SessionStore, SimulationLoop
from simulation_servers import make_servers, plan_changes
from simulation_verdict import check_entries
from simulation_world import SimulatedWorld

from metaspo.backends import Completion
from metaspo.backends.loops.virtual_time import Deadlock
from metaspo.cache import DiskStore, MemoryStore, Store, StoreError
from metaspo.engine.config.models import lane_settings
from metaspo.scheduling import (
    Budget,
    CallFailed,
    Client,
    Cost,
    DrawCounter,
    Event,
    Gateway,
    Lane,
)
from metaspo.scheduling.client.loop_thread import LoopThread
from metaspo.scheduling.telemetry.call_totals import CallTotals
from metaspo.serving import ServeConfig, Server
from metaspo.serving.accounts import Accounts
from metaspo.serving.lane_log import LaneLog

DoorName = Literal["client", "server"]
SPENT = "runs/serve"  # among the files of which a kill leaves what they were
URL = "http://localhost/v1/chat/completions"
STRANGE_KEY = "sk-of-a-stranger-0123456789"
DRAIN = 60.0
RUN = "story"
T = TypeVar("T")
Ask = Callable[[Caller, tuple[int, ...]], Awaitable[None]]
LAST = Interruption(kind="cancel", after=HORIZON, rest=0.0)


def simulate_door(seed: int, *, door: DoorName, note: Callable[[str], None] = lambda _: None) -> Report:
    """Run one seed to its end. Raises `Broken`. `note` takes the trace, line by line."""
    shelf = IN_MEMORY if IN_MEMORY.is_dir() else None
    with (
        TemporaryDirectory(dir=shelf) as folder,
        asyncio.Runner(loop_factory=SimulationLoop) as runner,
        _logged() as log,
    ):
        loop = runner.get_loop()
        assert isinstance(loop, SimulationLoop)
        story = Story(draw_plan(seed), door, Path(folder), loop, note=note)
        try:
            story.run()
        except Deadlock as standstill:
            story.ledger.breaks(f"nothing goes on: {standstill}")
        story.check_secrets(log)
    if story.ledger.broken:
        raise Broken(seed, story.ledger.broken, options=f" --door {door}")
    drawn = Counter({f"door: {door}": 1})
    return Report(seed=seed, counts=drawn + story.ledger.counts + story.outcomes.counts, seconds=loop.time())


class Story:
    """One seed on its way."""

    def __init__(
        self, plan: Plan, door: DoorName, folder: Path, loop: SimulationLoop, *, note: Callable[[str], None]
    ) -> None:
        self.plan, self.door, self.folder, self.loop = plan, door, folder, loop
        self._say = note
        self._sessions = 0
        self.ledger = Ledger(self.note)
        self.world = SimulatedWorld(plan.seed, malformed=plan.malformed, unsteady=plan.unsteady, refuses=False)
        self.outcomes = Outcomes(self.world, self.ledger.breaks)
        self.servers = make_servers(plan, self.world, self.ledger)
        self.memory = MemoryStore()
        callers = draw_callers(plan.seed)
        self.callers = callers if door == "server" else [replace(caller, who=WHO[0]) for caller in callers]
        self.caps = draw_caps(plan.seed)
        loop.write_seconds = plan.store_seconds

    def note(self, line: str) -> None:
        """One line of the trace."""
        self._say(f"{self.loop.time():12.4f}  {line}")

    def run(self) -> None:
        """Sessions, and what is left in the store."""
        self.loop.call_soon(self._plan_changes)
        for interruption in (*self.plan.interruptions, LAST):
            failures = self.outcomes.failures
            self._open_door(interruption)
            if self.ledger.broken:
                return
            self.loop.run_until_complete(asyncio.sleep(interruption.rest))
        if self.outcomes.failures == failures:
            calls = self.ledger.counts["calls"]
            self._open_door(LAST)
            self.ledger.counts["asked again"] += 1
            if self.ledger.counts["calls"] > calls:
                self.ledger.breaks("callers who were all answered asked the same again, and calls were made")
        store = self.open_store()
        entries = self.loop.run_until_complete(store.get_many(list(self.world.said)))
        self.loop.run_until_complete(self.close_store(store))
        check_entries(entries, self.world, self.ledger)

    def _open_door(self, interruption: Interruption) -> None:
        self._sessions += 1
        session = ClientSession if self.door == "client" else ServerSession
        session(self, self._sessions, interruption).run()

    def open_store(self) -> Store:
        """The store as a new process opens it."""
        return DiskStore(self.folder / "cache") if self.plan.disk else self.memory

    async def close_store(self, store: Store) -> None:
        """As a process does at its end."""
        if store is not self.memory:
            await store.aclose()

    def check_secrets(self, log: Sequence[str]) -> None:
        """No key is in a log, an error or a file."""
        files = [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()]
        told = [line.encode() for line in (*log, *self.outcomes.said)]
        for key in (KEY, STRANGE_KEY, *KEYS.values()):
            if any(key.encode() in text for text in (*files, *told)):
                self.ledger.breaks(f"the key {key} is told")

    def _plan_changes(self) -> None:
        for server in self.servers:
            plan_changes(self.plan, server, note=self.note)


class Session:
    """One process that others ask through: from the opening of its door to its end."""

    def __init__(self, story: Story, number: int, interruption: Interruption) -> None:
        self._story, self._ledger, self._outcomes = story, story.ledger, story.outcomes
        self._process = Process(number)
        self._interruption = interruption
        self._last = interruption is LAST
        self._files: RunFiles | None = None
        self._conduct: Conduct | None = None
        self._ended = asyncio.Event()
        self._callers: list[asyncio.Task[None]] = []

    @property
    def ending(self) -> bool:
        """Whether the door is being closed."""
        return self._ended.is_set()

    def run(self) -> None:
        """The whole of it, and what must hold after it."""
        story = self._story
        self._ledger.counts["sessions"] += 1
        story.note(f"session {self._process.number} begins")
        story.loop.dead = False
        self._outcomes.begin()
        store = story.open_store()
        seconds = 0.0 if story.plan.disk else story.plan.store_seconds
        failures, left = self._outcomes.failures, self._ledger.counts["callers left"]
        self._live(SessionStore(store, self._process, self._ledger, write_seconds=seconds))
        everybody = self._last and left == self._ledger.counts["callers left"]
        self._outcomes.check_draws(whole=everybody and failures == self._outcomes.failures)
        if self._conduct is not None and not self._process.dead:
            self._conduct.finish(interrupted=not self._last)
            self._ledger.check_stop()
        with suppress(*([StoreError] if self._process.dead else [])):
            story.loop.run_until_complete(story.close_store(store))
        if self._files is not None:
            self._files.restore()
        for lane in LANES:
            table = getattr(story.plan.configs[0], lane)
            self._ledger.check_limits(
                lane,
                requests=table.requests_per_minute,
                tokens=table.tokens_per_minute,
                requests_per_day=table.requests_per_day,
            )

    def _live(self, store: Store) -> None:
        raise NotImplementedError

    async def _be_asked(self, ask: Ask) -> None:
        """Until all callers have what they came for, or the process is told to end, or is killed."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._interruption.after, self._interrupt)
        self._callers = [loop.create_task(self._call(caller, ask)) for caller in self._story.callers]
        everybody = asyncio.gather(*self._callers, return_exceptions=True)
        ended = loop.create_task(self._ended.wait())
        await asyncio.wait((everybody, ended), return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        ended.cancel()

    async def _see_off(self) -> None:
        """The door is closed: nobody may be left waiting."""
        if not self._callers:
            return
        _, left = await asyncio.wait(self._callers, timeout=HORIZON)
        for task in left:
            self._ledger.breaks(f"somebody waits for ever: {task}")
            task.cancel()
        for task in self._callers:
            if not task.cancelled() and task.done() and (error := task.exception()) is not None:
                self._ledger.breaks(f"a caller got {error!r}")

    async def _call(self, caller: Caller, ask: Ask) -> None:
        """One caller's visit."""
        await asyncio.sleep(caller.after)
        try:
            async with asyncio.timeout(None if self._last else caller.leaves):
                await self._ask_all(caller, ask)
        except TimeoutError:
            self._ledger.counts["callers left"] += 1
            if caller.again:
                await self._ask_all(caller, ask)

    async def _ask_all(self, caller: Caller, ask: Ask) -> None:
        batches = [caller.numbers] if caller.batch else [(number,) for number in caller.numbers]
        await asyncio.gather(*(ask(caller, numbers) for numbers in batches))

    def _interrupt(self) -> None:
        story, kind = self._story, self._interruption.kind
        story.note(f"session {self._process.number}: {kind}")
        if self._last:
            self._ledger.breaks(f"nothing came of a session within {HORIZON:g} seconds")
        self._ledger.counts[kind] += 1
        self._ended.set()
        if kind == "kill":
            self._ledger.check_kill()
            self._ledger.conduct = None
            self._process.dead = story.loop.dead = True
            self._files = RunFiles(story.folder)
            for task in self._callers:
                task.cancel()

    # What every door stands before

    def _make_gateway(self, store: Store) -> Door:
        plan, loop = self._story.plan, self._story.loop
        gateway = Door(self._lanes(), store=store, on_event=self._hear, wall_clock=loop.time, many_programs=True)
        settings = {name: lane_settings(getattr(plan.configs[0], name)) for name in LANES}
        self._conduct = Conduct(gateway, settings, now=loop.time(), breaks=self._ledger.breaks)
        for server in self._story.servers if plan.starts is not None else ():
            if server.lane == "base":
                self._conduct.start(server.inner.name)
        return gateway

    def _begin(self, gateway: Gateway) -> None:
        def widths() -> dict[str, int]:
            return {name: lane.concurrency for name, lane in gateway.statistics().lanes.items()}

        self._ledger.begin(self._process.number, widths, conduct=self._conduct)

    def _lanes(self) -> list[Lane]:
        plan, lanes = self._story.plan, []
        for name in LANES:
            starts = plan.starts if name == "base" else None
            wires = [
                Wire(server, self._process) if starts is None else StartedWire(server, self._process, seconds=starts)
                for server in self._story.servers
                if server.lane == name
            ]
            lanes.append(plan.lane(name, wires))
        return lanes

    def _hear(self, event: Event) -> None:
        self._story.note(f"{event}")
        if self._process.dead:
            return
        self._outcomes.said.append(f"{event}")
        self._ledger.hear(event)
        if self._conduct is not None:
            self._conduct.hear(event)


class SameThread(LoopThread):
    """The simulation's loop in place of one in a thread of its own."""

    def __init__(self, loop: SimulationLoop) -> None:  # starts no thread
        self.loop = loop
        self._waiting, self._waking = deque(), False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """As a thread does it."""
        return self.loop.run_until_complete(work)

    def is_current(self) -> bool:
        """Nothing blocks in it."""
        return False

    def join(self) -> None:
        """There is none."""

    def stop(self) -> None:
        """Only what is left is told: the loop goes on."""
        self._fail_left()


class ClientSession(Session):
    """A program with a `Client`, of whose loop the callers are coroutines."""

    def _live(self, store: Store) -> None:
        session, loop = self, self._story.loop

        class Simulated(Client):
            def _start_loop(self) -> LoopThread:
                return SameThread(loop)

            def _open_store(self) -> Store:
                return store

            def _make_gateway(self, store: Store) -> Gateway:
                return session._make_gateway(store)

        caps, before = self._story.caps[WHO[0]], self._ledger.billed
        client = Simulated(self._lanes(), budget=Budget(calls=caps.get("calls"), tokens=caps.get("tokens")))
        self._begin(client._gateway)
        try:
            loop.run_until_complete(self._be_asked(lambda caller, numbers: self._ask(client, caller, numbers)))
        finally:
            self._ended.set()
            client.close()
            loop.run_until_complete(self._see_off())
        if not self._process.dead:
            self._outcomes.check_next(client._draws.take, self._story.callers, self._ledger.stored)
        spent = self._ledger.billed.minus(before)
        if any(getattr(spent, name) > cap for name, cap in caps.items()):
            self._ledger.breaks(f"{spent} was spent of {caps}")

    async def _ask(self, client: Client, caller: Caller, numbers: tuple[int, ...]) -> None:
        requests = [caller.request(number) for number in numbers]
        lane, priority = caller.lane, (caller.priority,)
        answers: Sequence[Completion | CallFailed]
        try:
            if caller.batch:
                answers = await client.acomplete_many(requests, lane=lane, priority=priority)
            else:
                answers = [await client.acomplete(requests[0], lane=lane, priority=priority)]
        except CallFailed as failed:
            answers = [failed] * len(numbers)
        for number, answer in zip(numbers, answers, strict=True):
            if isinstance(answer, CallFailed):
                self._outcomes.failed(answer.kind, str(answer), final=answer.final, ending=self.ending)
            elif caller.choices:
                self._outcomes.sampled(caller, number, answer.text)
            else:
                self._outcomes.answered(caller, number, answer.text, draw=0)


class ServerSession(Session):
    """`metaspo serve`, over the sockets of this process."""

    def _live(self, store: Store) -> None:
        self._story.loop.run_until_complete(self._serve(store))

    async def _serve(self, store: Store) -> None:
        story = self._story
        models = [{"name": name, "model": MODELS[name], "endpoints": ["http://127.0.0.1:1/v1"]} for name in LANES]
        keys = [{"name": who, "key_env": f"{who.upper()}_KEY", "budget": story.caps[who]} for who in WHO]
        told = {"models": models, "keys": keys, "spent": SPENT, "drain": DRAIN}
        config = self._config = ServeConfig.model_validate(told)
        socket = str(story.folder / "socket")
        async with (
            self._make_gateway(store) as gateway,
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(socket, limit=0), timeout=aiohttp.ClientTimeout()
            ) as http,
        ):
            self._begin(gateway)
            accounts = Accounts(config, environment=KEYS, folder=story.folder)
            before = {account.name: account.purse.spent for account in accounts.all}
            server = Server(config, gateway, accounts, CallTotals(), log=LaneLog())
            async with server.listening(server.app(), partial(_open_at, socket=socket)):
                await self._check_stranger(http)
                await self._be_asked(lambda caller, numbers: self._ask(http, caller, numbers))
                self._ended.set()
                self._ended_at = story.loop.time()
            await self._see_off()
        if not self._process.dead:
            for who in WHO:
                callers = [caller for caller in story.callers if caller.who == who]
                counter = server._sampler._runs.get((who, RUN), DrawCounter())
                self._outcomes.check_next(counter.take, callers, self._ledger.stored)
            self._check_spent(accounts, before)
        caps = {name: [story.caps[who][name] for who in WHO if name in story.caps[who]] for name in Cost._fields}
        self._ledger.check_budget({name: sum(cap) for name, cap in caps.items() if len(cap) == len(WHO)})

    def _check_spent(self, accounts: Accounts, before: Mapping[str, Cost]) -> None:
        """What was only set aside is given back at the end: the next server goes on from what was taken."""
        config, folder = self._config, self._story.folder
        for account in Accounts(config, environment=KEYS, folder=folder).all if any(self._story.caps.values()) else ():
            taken = next(each.taken() for each in accounts.all if each.name == account.name)
            if self._story.caps[account.name] and account.purse.spent != before[account.name].plus(taken):
                self._ledger.breaks(f"{account.name} has taken {taken}, and {account.purse.spent} was written down")

    async def _check_stranger(self, http: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Bearer {STRANGE_KEY}"}
        async with http.post(URL, json=self._story.callers[0].body(0), headers=headers) as answer:
            self._outcomes.said.append(await answer.text())
            if answer.status != HTTPStatus.UNAUTHORIZED:
                self._ledger.breaks(f"a stranger got {answer.status}")

    async def _ask(self, http: aiohttp.ClientSession, caller: Caller, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            began = self._story.loop.time()
            headers = {"Authorization": f"Bearer {KEYS[f'{caller.who.upper()}_KEY']}"}
            headers |= {"x-metaspo-priority": f"{caller.priority}", "x-metaspo-run": RUN}
            try:
                async with http.post(URL, json=caller.body(number), headers=headers) as answer:
                    content = await answer.read()
            except aiohttp.ClientError as error:
                self._lost(error, began)
                return
            if answer.content_type == "text/event-stream":
                self._read_events(caller, number, answer.headers, content)
            else:
                self._read(caller, number, answer.headers, orjson.loads(content))

    def _lost(self, error: Exception, began: float) -> None:
        """A connection may break only where the server is gone: killed, or told to end long enough before."""
        self._ledger.counts["connections lost"] += 1
        ended = self._ended_at if self.ending else math.inf
        if not self._process.dead and began < ended and self._story.loop.time() < ended + DRAIN:
            self._ledger.breaks(f"a client lost its connection: {error!r}")

    def _read(self, caller: Caller, number: int, headers: Mapping[str, str], body: dict[str, Any]) -> None:
        if "error" in body:
            final = headers["x-should-retry"] == "false"
            self._outcomes.failed(body["error"]["code"], body["error"]["message"], final=final, ending=self.ending)
            return
        texts = [choice["message"]["content"] for choice in body["choices"]]
        self._had(caller, number, headers, texts)

    def _read_events(self, caller: Caller, number: int, headers: Mapping[str, str], content: bytes) -> None:
        """A stream is whole, or ends in a failure."""
        lines = [line[6:] for line in content.split(b"\n\n") if line.startswith(b"data: ")]
        events = [orjson.loads(line) for line in lines if line != b"[DONE]"]
        if lines[-1] != b"[DONE]":
            error = events[-1]["error"]
            self._outcomes.failed(error["code"], error["message"], final=None, ending=self.ending)
            return
        texts = [""] * (caller.choices or 1)
        for event in events:
            for choice in event["choices"]:
                texts[choice["index"]] += choice["delta"].get("content") or ""
        self._had(caller, number, headers, texts)

    def _had(self, caller: Caller, number: int, headers: Mapping[str, str], texts: Sequence[str]) -> None:
        """Answers; a stream that was kept alive told its headers before its draws were known."""
        if len(texts) != (caller.choices or 1):
            self._ledger.breaks(f"{caller} got {len(texts)} answers")
        draws = headers.get("x-metaspo-draw", "")
        for text, draw in zip(texts, draws.split(",") if draws else ("",) * len(texts), strict=True):
            if draw or not caller.choices:
                self._outcomes.answered(caller, number, text, draw=int(draw or 0))
            else:
                self._outcomes.sampled(caller, number, text)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Every line that anything logs meanwhile, however little it matters."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    keep, root = Keep(), logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(keep)
    try:
        yield lines
    finally:
        root.removeHandler(keep)
        root.setLevel(before)


@asynccontextmanager
async def _open_at(runner: web.AppRunner, *, socket: str) -> AsyncIterator[None]:
    await web.UnixSite(runner, socket).start()
    yield
