"""What it costs to run a finished run again: the whole engine on a full cache, against a bare loop over its records.

The bare loop does what no replay can leave out, one request after the other: the request's key, diskcache's read of
the row, orjson's decoding of it. Both start from a database in the operating system's memory and an empty one of ours.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import orjson

from metaspo.backends import Request
from metaspo.bench.instant import InstantModel
from metaspo.bench.measure import spread, take_turns
from metaspo.bench.report import Report, Row
from metaspo.bench.workload import BASE, PAPER, Size, answer, make_run
from metaspo.cache import DiskStore, request_key
from metaspo.cache.disk.database import open_cache
from metaspo.cache.place import row_name
from metaspo.engine import Prepared, RunReport
from metaspo.engine.api import optimize
from metaspo.scheduling import Gateway, Lane, LaneSettings

RECORD_HEAD = 5  # bytes of version and checksum before a record's JSON
SETTINGS = LaneSettings(concurrency=256)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run whose answers are all in `store`.

    Attributes:
        requests: what was asked, in the order in which it was sent.
    """

    prepared: Prepared
    store: Path
    report: RunReport
    requests: list[Request]

    def replay(self) -> RunReport:
        """Run it again; raises `AssertionError` if that makes a call or selects anything else."""
        model = InstantModel(answer)
        assert self.prepared.directory is not None
        journal = self.prepared.directory.journal
        finished = journal.read_bytes()
        report = asyncio.run(_session(self.prepared, self.store, model))
        journal.write_bytes(finished)  # what the next turn replays is the same run, and not one replay longer
        if model.calls:
            raise AssertionError(f"the replay of a finished run made {model.calls.total()} calls")
        if report.result != self.report.result:
            raise AssertionError("the replay of a finished run came to another result")
        return report

    def bare_loop(self) -> int:
        """Key, diskcache read and decoding of every record; returns the characters of all answers."""
        chars = 0
        with open_cache(self.store) as cache:
            for request in self.requests:
                record = cache.get(row_name(request_key(request)))
                chars += len(orjson.loads(record[RECORD_HEAD:])[0])
        return chars


def finish_run(size: Size, *, folder: Path) -> FinishedRun:
    """Make a run of that size from nothing, its cache and directory under `folder`."""
    prepared = make_run(size, folder=folder)
    model = InstantModel(answer, remember=True)
    store = folder / "cache"
    report = asyncio.run(_session(prepared, store, model))
    return FinishedRun(prepared, store, report, model.requests)


def measure_replay(*, size: Size = PAPER, turns: int) -> Report:
    """Replays and bare loops in turns, and the ratios of their times."""
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        run = finish_run(size, folder=Path(folder))
        timings = take_turns({"bare loop": run.bare_loop, "replay": run.replay}, turns=turns)
    count = len(run.requests)
    rows: list[Row] = []
    bare = timings["bare loop"]
    for name, measured in timings.items():
        cpu, wall = spread(timing.cpu for timing in measured), spread(timing.wall for timing in measured)
        ratios = spread(timing.cpu / bare_timing.cpu for timing, bare_timing in zip(measured, bare, strict=True))
        walls = spread(timing.wall / bare_timing.wall for timing, bare_timing in zip(measured, bare, strict=True))
        rows.append(
            {
                "what": name,
                "cpu us/record (least)": 1e6 * cpu.least / count,
                "cpu us/record (median)": 1e6 * cpu.middle / count,
                "wall s (median)": wall.middle,
                "cpu ratio (least)": cpu.least / spread(timing.cpu for timing in bare).least,
                "cpu ratio (median)": ratios.middle,
                "wall ratio (median)": walls.middle,
            }
        )
    asked = sum(request.model == BASE for request in run.requests)
    notes = (
        f"{asked:,} evaluations and {count - asked:,} optimizer calls, replayed without a call and to the same result.",
        "The aim is a ratio of at most 1.5. Ratios are taken turn by turn, against the bare loop just before.",
    )
    return Report(scenario="replay", title="Replay of a finished run", rows=rows, notes=notes)


async def _session(prepared: Prepared, store: Path, model: InstantModel) -> RunReport:
    async with DiskStore(store) as kept:
        lanes = [Lane(name, [model], SETTINGS) for name in ("base", "optimizer")]
        async with Gateway(lanes, store=kept) as gateway:
            return await optimize(prepared, gateway=gateway)
