"""Time and memory of runs that get longer and longer: both should stay flat for each evaluation.

Every size is a process of its own: a run on a model that answers at once, its answers stored in a cache on disk, its
journal written to a file. Runs grow by iterations, so that nothing but their length changes.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from metaspo.bench.instant import InstantModel
from metaspo.bench.measure import peak_memory, timed
from metaspo.bench.processes import measured_apart
from metaspo.bench.report import Report, Row
from metaspo.bench.workload import BASE, Size, answer, make_run
from metaspo.cache import DiskStore
from metaspo.engine import count_calls
from metaspo.engine.api import optimize
from metaspo.scheduling import Gateway, Lane, LaneSettings

# So many examples that no prompt gets all of them right: then there would be nothing left to do.
ITERATION = Size(tasks=2, train=60, test=0, iterations=1, outer=3)


def measure_scale(evaluations: Sequence[int]) -> Report:
    """One run of about each size."""
    rows = [measured_apart(__name__, count) for count in evaluations]
    return Report(
        scenario="scale",
        title="Longer runs on a model that answers at once",
        rows=rows,
        notes=(
            "us: of all of metaspo for one evaluation, fresh, stored on disk. MiB: the most the process ever held.",
        ),
    )


def size_of_run(evaluations: int) -> Size:
    """The shortest run for which so many evaluations are planned (at least 1,560, which is one iteration)."""
    size = ITERATION
    while (planned := _planned(size)) < evaluations:
        missing = max(1, (evaluations - planned) * size.iterations // planned)
        size = replace(size, iterations=size.iterations + missing)
    return size


def _planned(size: Size) -> int:
    run = make_run(size)
    return count_calls(run.config, run.tasks).base


def one_run(evaluations: int) -> Row:
    """Make a run of that size in this process."""
    model = InstantModel(answer)
    size = size_of_run(evaluations)

    async def main(folder: Path) -> None:
        settings = LaneSettings(concurrency=256)
        lanes = [Lane(name, [model], settings) for name in ("base", "optimizer")]
        async with DiskStore(folder / "cache") as store, Gateway(lanes, store=store) as gateway:
            await optimize(make_run(size, folder=folder), gateway=gateway)

    before = peak_memory()
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        timing = timed(lambda: asyncio.run(main(Path(folder))))
    made = model.calls[BASE]
    return {
        "evaluations": made,
        "cpu us/evaluation": 1e6 * timing.cpu / made,
        "wall us/evaluation": 1e6 * timing.wall / made,
        "peak MiB": peak_memory() / 2**20,
        "MiB over start": (peak_memory() - before) / 2**20,
    }


def main() -> None:
    """Measure one size, the first argument, and print the row as JSON."""
    sys.stdout.buffer.write(orjson.dumps(one_run(int(sys.argv[1]))))
