"""The whole engine on virtual time, in trouble: run, kill, restart ... to the end, with every promise checked.

One seed is one plan (`simulation_plan`): runs over simulated servers (`simulation_servers`) whose faults are planned
(`simulation_faults`), interrupted at planned moments (`simulation_process`), resumed on the same store and run
directories until they finish. What must never happen is watched by `simulation_ledger`; what must come of it is held
against the sequential oracle (`simulation_verdict`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from simulation_conduct import Conduct, Door
from simulation_faults import StartedWire, Wire
from simulation_guests import Visit, check_exhausted
from simulation_ledger import Ledger
from simulation_plan import Guest, Interruption, Plan, draw_plan
from simulation_process import Process, RunFiles, SessionStore, SimulationLoop
from simulation_servers import make_servers, plan_changes
from simulation_verdict import check_entries, check_selections, compare
from simulation_world import SimulatedWorld

from metaspo.backends import Request
from metaspo.backends.loops.virtual_time import Deadlock
from metaspo.cache import DiskStore, MemoryStore, Store, StoreError
from metaspo.engine import Observer, Prepared, RunConfig, RunReport
from metaspo.engine.config.models import lane_settings
from metaspo.engine.gather import gather
from metaspo.engine.runs.execute import run_prepared
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.lane_events import LaneEvents
from metaspo.engine.tasks import TaskError
from metaspo.scheduling import (
    BudgetExhausted,
    Cost,
    Event,
    Gateway,
    Lane,
    LaneStopped,
    RunStopped,
    Unavailable,
)

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
HORIZON = 6 * 3600.0  # virtual seconds for one session: by far more than any plan's waits
MAX_SESSIONS = 40
BETWEEN = 20.0  # a person starts a stopped run again after so many seconds, and so many more each time
LANES = ("base", "optimizer")
Ending = list[RunReport | RunStopped]


class Broken(AssertionError):
    """Promises that did not hold for a seed."""

    def __init__(self, seed: int, faults: Sequence[str], *, options: str = "") -> None:
        shown, again = "\n  ".join(faults[:8]), f"python tools/simulate.py{options} --seed {seed} --verbose"
        super().__init__(f"seed {seed}:\n  {shown}\nTo see it again: {again}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was drawn for a seed and what came of it; `seconds` of virtual time."""

    seed: int
    counts: Counter[str]
    seconds: float


def simulate(seed: int, *, note: Callable[[str], None] = lambda _: None) -> Report:
    """Run one seed to its end. Raises `Broken`. `note` takes the trace, line by line."""
    plan = draw_plan(seed)
    shelf = IN_MEMORY if IN_MEMORY.is_dir() else None
    with TemporaryDirectory(dir=shelf) as folder, asyncio.Runner(loop_factory=SimulationLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulationLoop)
        loop.write_seconds = plan.store_seconds
        simulation = Simulation(plan, Path(folder), loop, note=note)
        ledger = simulation.ledger
        try:
            runner.run(simulation.run())
        except Deadlock as standstill:
            ledger.breaks(f"nothing goes on: {standstill}")
    if ledger.broken:
        raise Broken(seed, ledger.broken)
    return Report(seed=seed, counts=plan.drawn() + ledger.counts, seconds=simulation.seconds)


class Simulation:
    """One plan on its way."""

    def __init__(self, plan: Plan, folder: Path, loop: SimulationLoop, *, note: Callable[[str], None]) -> None:
        self.plan = plan
        self.folder = folder
        self.loop = loop
        self.seconds = 0.0
        self.ledger = Ledger(self.note)
        self.world = SimulatedWorld(plan.seed, malformed=plan.malformed, unsteady=plan.unsteady, refuses=plan.refuses)
        self.memory = MemoryStore()
        self.servers = make_servers(plan, self.world, self.ledger)
        self.guests_were_told: dict[Request, str] = {}
        self._say = note
        self._caps_raised = 0

    def note(self, line: str) -> None:
        """One line of the trace."""
        self._say(f"{self.loop.time():12.4f}  {line}")

    async def run(self) -> None:
        """Sessions until all runs have finished; then what came of it is checked."""
        for server in self.servers:
            plan_changes(self.plan, server, note=self.note)
        waiting = list(self.plan.interruptions)
        for number in range(1, MAX_SESSIONS + 1):
            interruption = waiting[0] if waiting else None
            session = Session(self, number, guests=self.plan.guests)
            ending = await session.run(interruption)
            if self.ledger.broken:
                return
            if ending is not None and all(isinstance(report, RunReport) for report in ending):
                await self._finish(number, [report for report in ending if isinstance(report, RunReport)])
                return
            if interruption is not None and session.interrupted:
                waiting.pop(0)
                await anyio.sleep(interruption.rest)
            else:
                await anyio.sleep(BETWEEN * number)
        self.ledger.breaks(f"not finished after {MAX_SESSIONS} sessions")

    async def _finish(self, sessions: int, reports: Sequence[RunReport]) -> None:
        """Compare with the oracle; then run once more, which must ask nothing and come to the same."""
        self.seconds = self.loop.time()
        store = self.open_store()
        entries = await store.get_many(list(self.world.said))
        await self.close_store(store)
        kept = check_entries(entries, self.world, self.ledger)
        if self.ledger.wavered:
            self.ledger.counts["given up and then answered"] += 1
            return  # whom it was answered to, the books do not say
        for config, report in zip(self.plan.configs, reports, strict=True):
            compare(self.plan, config, report, kept=kept, world=self.world, ledger=self.ledger)
        if self.plan.refuses or self.ledger.given_up:
            return  # refusals are not kept: a finished run asks again for what was refused
        calls = self.ledger.counts["calls"]
        again = await Session(self, sessions + 1, guests=()).run(None)
        if again is None or not all(isinstance(report, RunReport) for report in again):
            self.ledger.breaks("a finished run, started again, did not finish")
        elif [getattr(report, "result", None) for report in again] != [report.result for report in reports]:
            self.ledger.breaks("a finished run, started again, came to another result")
        if self.ledger.counts["calls"] > calls:
            self.ledger.breaks("a finished run, started again, made calls")

    # What sessions share

    def open_store(self) -> Store:
        """The store as a new process opens it."""
        return DiskStore(self.folder / "cache") if self.plan.disk else self.memory

    async def close_store(self, store: Store) -> None:
        """As a process does at its end."""
        if store is not self.memory:
            await store.aclose()

    def configs(self) -> list[RunConfig]:
        """The runs' configs, with caps as they are by now."""
        configs = []
        for config in self.plan.configs:
            budget = config.budget
            raised = {name: getattr(budget, name) * 2**self._caps_raised for name in budget.model_fields_set}
            configs.append(config.model_copy(update={"budget": budget.model_copy(update=raised)}))
        return configs

    def stopped(self, stop: RunStopped) -> None:
        """A run stopped; whoever started it does what it says."""
        self.ledger.counts[f"stop: {type(stop).__name__}"] += 1
        self.note(f"a run stops: {stop}")
        if isinstance(stop, BudgetExhausted):
            check_exhausted(stop, self.ledger.breaks)
            self._caps_raised += 1
        if isinstance(stop, LaneStopped | Unavailable) and stop.lane == "base" and self.plan.others_answer:
            self.ledger.breaks(f"a run stopped although the others answer: {stop}")
        if type(stop) is RunStopped:
            self.ledger.breaks(f"a run stopped in an open gateway: {stop}")

    def check_budget(self) -> None:
        """All sessions of all runs together, within all their caps."""
        budgets = [config.budget for config in self.configs()]
        caps = {name: [getattr(budget, name) for budget in budgets] for name in Cost._fields}
        self.ledger.check_budget({name: sum(cap) for name, cap in caps.items() if None not in cap})


class Session:
    """One process: from the start of all runs to their end, or its own."""

    def __init__(self, simulation: Simulation, number: int, *, guests: Sequence[Guest]) -> None:
        self.interrupted = False
        self._guests = guests
        self._simulation = simulation
        self._ledger = simulation.ledger
        self._process = Process(number)
        self._files: RunFiles | None = None
        self._gateway: Door | None = None

    async def run(self, interruption: Interruption | None) -> Ending | None:
        """What became of each run; None if the process was interrupted, or anything else went wrong."""
        simulation, process = self._simulation, self._process
        self._ledger.counts["sessions"] += 1
        simulation.note(f"session {process.number} begins")
        simulation.loop.dead = False
        task = simulation.loop.create_task(self._live())
        timer = None
        if interruption is not None:
            timer = simulation.loop.call_later(interruption.after, self._interrupt, interruption, task)
        await asyncio.wait([task], timeout=HORIZON)
        if timer is not None:
            timer.cancel()
        if not task.done():
            self._ledger.breaks(f"nothing came of a session within {HORIZON:g} seconds: {self._gateway}")
            task.cancel()
            return None
        if self._files is not None:
            self._files.restore()
        self._check()
        return self._ending(task)

    async def _live(self) -> Ending:
        """What a process does."""
        simulation, process = self._simulation, self._process
        store = simulation.open_store()
        write_seconds = 0.0 if simulation.plan.disk else simulation.plan.store_seconds
        view = SessionStore(store, process, self._ledger, write_seconds=write_seconds)
        events = LaneEvents()
        conduct: Conduct | None = None

        def hear(event: Event) -> None:
            simulation.note(f"{event}")
            if not process.dead:
                self._ledger.hear(event)
            if conduct is not None and not process.dead:
                conduct.hear(event)
            events(event)

        try:
            lanes = [self._lane(name) for name in LANES]
            async with Door(lanes, store=view, on_event=hear, wall_clock=simulation.loop.time) as gateway:
                self._gateway = gateway
                conduct = self._conduct(gateway)
                self._ledger.begin(process.number, self._widths, conduct=conduct)
                async with self._visits(gateway, conduct):
                    return await gather(
                        self._one(config, gateway, events, place) for place, config in enumerate(simulation.configs())
                    )
        finally:
            if conduct is not None and not process.dead:
                conduct.finish(interrupted=self.interrupted)
            if self._gateway is not None:
                self._ledger.note_given_up(self._gateway.given_up, self._gateway.answered)
            with suppress(StoreError):  # of a dead process
                await simulation.close_store(store)

    def _conduct(self, gateway: Door) -> Conduct:
        settings = {name: lane_settings(getattr(self._simulation.plan.configs[0], name)) for name in LANES}
        conduct = Conduct(gateway, settings, now=self._simulation.loop.time(), breaks=self._ledger.breaks)
        if self._simulation.plan.starts is not None:
            for server in self._simulation.servers:
                if server.lane == "base":
                    conduct.start(server.inner.name)
        return conduct

    @asynccontextmanager
    async def _visits(self, gateway: Gateway, conduct: Conduct) -> AsyncIterator[None]:
        """Guests come and go meanwhile, and are sent away at the end."""
        told, exact = self._simulation.guests_were_told, not self._simulation.plan.disk
        visits = [Visit(guest, gateway, told, exact=exact, breaks=self._ledger.breaks) for guest in self._guests]
        conduct.checks += [visit.check for visit in visits]
        tasks = [asyncio.create_task(visit.run()) for visit in visits]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(error, Exception) and not self._process.dead:
                    self._ledger.breaks(f"a guest got {error!r}")

    async def _one(self, config: RunConfig, gateway: Gateway, events: LaneEvents, turn: int) -> RunReport | RunStopped:
        prepared = Prepared(config=config, tasks=self._simulation.plan.tasks, folder=self._simulation.folder)
        names = LaneNames(judge=self._simulation.plan.judged or "judge", turn=turn)
        try:
            return await run_prepared(prepared, gateway, names, observer=Observer(), events=events)
        except RunStopped as stop:
            return stop
        except TaskError as without_answers:
            if "no answer in" not in str(without_answers):
                raise
            return Unavailable(str(without_answers), lane="base")  # under the first prompts: nothing can go on then

    def _widths(self) -> dict[str, int]:
        """The calls that each lane allows itself now."""
        assert self._gateway is not None
        return {name: lane.concurrency for name, lane in self._gateway.statistics().lanes.items()}

    def _lane(self, name: str) -> Lane:
        servers = [server for server in self._simulation.servers if server.lane == name]
        starts = self._simulation.plan.starts if name == "base" else None
        wires = [
            Wire(server, self._process) if starts is None else StartedWire(server, self._process, seconds=starts)
            for server in servers
        ]
        return self._simulation.plan.lane(name, wires)

    def _interrupt(self, interruption: Interruption, task: "asyncio.Task[Ending]") -> None:
        if task.done():
            return
        self.interrupted = True
        self._simulation.note(f"session {self._process.number}: {interruption.kind}")
        self._ledger.counts[interruption.kind] += 1
        if interruption.kind == "kill":
            self._ledger.check_kill()
            self._ledger.conduct = None
            self._process.dead = self._simulation.loop.dead = True
            self._files = RunFiles(self._simulation.folder)
        task.cancel()

    def _check(self) -> None:
        """What must hold after every session."""
        simulation = self._simulation
        for lane in LANES:
            table = getattr(simulation.plan.configs[0], lane)
            self._ledger.check_limits(
                lane,
                requests=table.requests_per_minute,
                tokens=table.tokens_per_minute,
                requests_per_day=table.requests_per_day,
            )
        simulation.check_budget()
        check_selections(simulation.folder, self._ledger)
        if not self._process.dead:
            self._ledger.check_stop()

    def _ending(self, task: "asyncio.Task[Ending]") -> Ending | None:
        if task.cancelled():
            return None
        error = task.exception()
        if self._process.dead:
            return None  # whatever it said, nobody heard it
        if error is not None:
            self._ledger.breaks(f"a session ended in {type(error).__name__}: {error}")
            return None
        for stop in task.result():
            if isinstance(stop, RunStopped):
                self._simulation.stopped(stop)
        return task.result()
