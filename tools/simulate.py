"""Simulate whole runs and other programs in trouble, seed by seed, and check every promise (docs/simulation.md).

    python tools/simulate.py --seeds 5000                # --start N, --jobs N
    python tools/simulate.py --seed 1234 --verbose       # one seed again, with everything that happens
    python tools/simulate.py --door server --seeds 1000  # only the programs that ask `metaspo serve`

Prints what was drawn and what came of it. Exits with 1 if a promise was broken, and names the seeds.
"""

import argparse
import logging
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from simulation import Broken, Report, simulate
from simulation_callers import draw_callers
from simulation_doors import simulate_door
from simulation_plan import draw_plan

CHUNK = 20  # seeds that a process does in one go
LINE = 200  # seeds from one line of progress to the next, where a line cannot be written over
DOORS: dict[str, Callable[..., Report]] = {
    "runs": simulate,
    "client": partial(simulate_door, door="client"),
    "server": partial(simulate_door, door="server"),
}
REAL_SECONDS = 60.0  # for one seed, which takes a tenth of a second: more is a loop without end


@dataclass(slots=True)
class Tally:
    """What came of some seeds, through each door a story of its own."""

    stories: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Take over what came of others."""
        self.stories += other.stories
        self.counts.update(other.counts)
        self.failures.update(other.failures)
        self.seconds += other.seconds


class Endless(BaseException):
    """A seed takes far too long in real time; nothing in the engine may catch this."""


def main() -> None:
    """Run and print; exit with 1 on failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--door", choices=DOORS, action="append", help="through which is asked; all if left out")
    parser.add_argument("--verbose", action="store_true", help="with --seed: the plan, and every event")
    given = parser.parse_args()
    doors = given.door or list(DOORS)
    if given.seed is not None:
        sys.exit(max(show(door, given.seed, verbose=given.verbose) for door in doors))
    started = time.monotonic()
    tally = run_all(doors, range(given.start, given.start + given.seeds), jobs=given.jobs)
    print_table(tally, wall=time.monotonic() - started)
    sys.exit(1 if tally.failures else 0)


def quiet() -> None:
    """Keep the engine's warnings to itself: what trouble does to a run is drawn here, and no news."""
    logging.getLogger("metaspo").addHandler(logging.NullHandler())


def show(door: str, seed: int, *, verbose: bool) -> int:
    """One seed, with its trace if that is wanted."""
    if verbose:
        print(draw_plan(seed), *(draw_callers(seed) if door != "runs" else ()), sep="\n")
    else:
        quiet()
    try:
        with limited(REAL_SECONDS):
            report = DOORS[door](seed, **({"note": print} if verbose else {}))
    except (Broken, Endless) as failure:
        print(failure)
        return 1
    print_table(Tally(counts=report.counts, seconds=report.seconds))
    return 0


def run_all(doors: Sequence[str], seeds: Sequence[int], *, jobs: int) -> Tally:
    """All seeds over so many processes, with a line on how far it is."""
    tally = Tally()
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(max_workers=jobs, initializer=quiet) as pool:
        for done in pool.map(partial(run_some, doors), chunks):
            tally.add(done)
            through = tally.stories // len(doors)
            if sys.stderr.isatty() or through % LINE < CHUNK:
                calls = f"{tally.counts['calls']:,} calls"
                line = f"{through:,} of {len(seeds):,} seeds, {calls}, {len(tally.failures)} failures"
                print(f"\r{line}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return tally


def run_some(doors: Sequence[str], seeds: Sequence[int]) -> Tally:
    """Some seeds, one after the other."""
    tally = Tally()
    for seed, door in product(seeds, doors):
        outcome = run_one(door, seed)
        tally.stories += 1
        if isinstance(outcome, str):
            tally.failures[door, seed] = outcome
        else:
            tally.counts.update(outcome.counts)
            tally.seconds += outcome.seconds
    return tally


def run_one(door: str, seed: int) -> Report | str:
    """One seed's report, or what went wrong."""
    try:
        with limited(REAL_SECONDS):
            return DOORS[door](seed)
    except Broken as broken:
        return str(broken)
    except Endless as endless:
        return f"seed {seed}:\n  {endless}"
    except Exception:  # noqa: BLE001 - whatever it is, it is this seed's failure
        return f"seed {seed}:\n{traceback.format_exc()}"


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Endless` if it takes longer, in real time: virtual time does not see a loop that never waits."""

    def ring(_: int, frame: FrameType | None) -> None:
        where = "".join(traceback.format_stack(frame)[-3:]) if frame else ""
        raise Endless(f"it goes on and on, for {seconds:.0f} real seconds by now:\n{where}")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def print_table(tally: Tally, *, wall: float | None = None) -> None:
    """What was drawn and what came of it; then what went wrong."""
    for name, count in sorted(tally.counts.items()):
        print(f"{name:32} {count:>10,}")
    print(f"{'virtual hours':32} {tally.seconds / 3600:>10,.1f}")
    if wall is not None:
        print(f"{'seconds':32} {wall:>10,.1f}")
    for failure in tally.failures.values():
        print(failure)
    if tally.failures:
        named = " ".join(f"{door} {seed}" for door, seed in sorted(tally.failures))
        print(f"{len(tally.failures)} failed: {named}")


if __name__ == "__main__":
    main()
