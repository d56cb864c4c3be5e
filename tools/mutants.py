"""Break the code, one line at a time, and see whether a test notices (docs/mutants.md).

    python tools/mutants.py scheduling cache --sample 100     # --seed N for others, --jobs N
    python tools/mutants.py scheduling --suite simulation     # only the seeds of the simulation, --seeds N
    python tools/mutants.py scheduling/budget/budget.py --sample 0   # all mutants of one module

Each mutant is made in a copy of the tree, never in place, and meets the tests that enter the mutated function, those of
its module and the quickest of its own room first, until one fails. Which tests these are is found by
running the default tests once, traced; files of tests that have changed since are run so again, and with `--map` all
are. Prints how many were killed, by folder, and every survivor. Those that change nothing are listed in
`mutants_equivalent.toml`.
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from link_types import FOLDERS
from mutants_operators import Mutant, mutants_of
from mutants_trace import Tracer

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / ".cache" / "mutants.json"
EQUIVALENT = ROOT / "tools" / "mutants_equivalent.toml"
CHOSEN = (
    "scheduling",
    "cache",
    "backends",
    "engine/statistics",
    "engine/selection",
    "engine/evaluation",
    "engine/journal",
)

TESTS_OF_STORES = "cache/testing.py"  # shipped, and no more broken than other tests are
NOT_COPIED = (".*", "__pycache__", "*.egg-info", "build", "dist", "runs")
PRELOADED = [
    "aiohttp",
    "anyio",
    "diskcache",
    "hypothesis",
    "openai",
    "orjson",
    "pydantic",
    "pytest",
    "scipy.stats",
    "typer",
]
QUIETLY = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is preloaded
SLOWER = 10.0  # times the traced run's time, and so many seconds more, is a hang: other programs may run beside
START = 20.0
LONG = 0.5  # seconds of a test: such ones say late what many others can say before them
AT_ONCE = 10  # files of tests that are traced before the map is written: who stops it goes on from there
Fate = Literal["killed", "hangs", "survived", "not covered"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Seconds by test, and tests by function."""

    seconds: dict[str, float]
    tests: dict[str, list[str]]

    def of(self, mutant: Mutant, *, seconds: float) -> list[str]:
        """The tests for a mutant, so many seconds of them: first those of the file that is called as its module is,
        with the top folder's name or its room's, then of files that import it by name, of its own room, and of others,
        the quickest first; the long ones of all these come last.

        What nothing in this process enters may run in another one, which the tests of its module start; or it was
        written since they were traced, and meets those of its folder.
        """
        parts = Path(mutant.file).with_suffix("").parts
        names = {"_".join(parts), f"{parts[0]}_{parts[-1]}", "_".join(parts[-2:])}
        own = tuple(f"tests/test_{name}.py::" for name in names)
        named = importing(".".join(("metaspo", *parts)))
        tests = (
            self.tests.get(f"{mutant.file}:{mutant.function}")
            or self._beginning(*own, *named)
            or self._beginning(f"tests/test_{parts[0]}_")
        )
        room = tuple(f"tests/test_{name}" for name in parts)
        chosen: list[str] = []
        total = 0.0

        def rank(test: str) -> tuple[bool, bool, bool, bool, float]:
            took = self.seconds[test]
            return took > LONG, not test.startswith(own), not test.startswith(named), not test.startswith(room), took

        for test in sorted(tests, key=rank):
            total += self.seconds[test]
            if total > seconds and chosen:
                break
            chosen.append(test)
        return chosen

    def _beginning(self, *starts: str) -> list[str]:
        return [test for test in self.seconds if test.startswith(starts)]


@cache
def importing(module: str) -> tuple[str, ...]:
    """How the tests begin whose file imports a module by its own name."""
    package, name = map(re.escape, module.rsplit(".", 1))
    found = re.compile(
        rf"^(?:from|import) {package}\.{name}\b(?!\.)|^from {package} import (?:[^(\n]*|\([^)]*)\b{name}\b",
        re.MULTILINE,
    )
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if found.search(path.read_text("utf-8"))]
    return tuple(f"tests/{path.name}::" for path in files)


class Tree:
    """A copy of the tree that one mutant at a time lives in; `metaspo` is imported from there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder.resolve() / "tree"
        self._mutants = 0
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(*NOT_COPIED))
        for name in FOLDERS:
            (self.root / "metaspo" / name).symlink_to(self.root / name)

    @contextlib.contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The tree with that one change."""
        path = self.root / mutant.file
        whole = path.rename(path.with_suffix(".whole"))
        path.write_text(mutant.apply(whole.read_text(encoding="utf-8")), encoding="utf-8")
        self._mutants += 1
        os.utime(path, (self._mutants, self._mutants))  # by which its compiled code is told from that of others
        try:
            yield
        finally:
            whole.replace(path)

    def run(self, work: Callable[..., None], *arguments: object, limit: float) -> int | None:
        """Do something in a process of its own, at home in the copy; its exit status, or None for one that hangs."""
        process = multiprocessing.get_context("forkserver").Process(target=_at_home, args=(self.root, work, arguments))
        process.start()
        process.join(limit)
        hangs = process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # and whatever it has started
        process.join()
        return None if hangs else process.exitcode


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=CHOSEN, help="folders and modules")
    parser.add_argument(
        "--sample", type=int, default=100, help="mutants, each on a line of its own; 0 for all there are"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--suite", choices=("tests", "simulation"), default="tests")
    parser.add_argument("--seeds", type=int, default=80, help="of the simulation")
    parser.add_argument("--seconds", type=float, default=40.0, help="of tests that one mutant meets, as traced")
    parser.add_argument("--map", action="store_true", help="run the default tests, traced, again")
    given = parser.parse_args()
    multiprocessing.set_forkserver_preload(PRELOADED)
    mutants = draw(given.targets, sample=given.sample, seed=given.seed)
    with TemporaryDirectory(prefix="mutants-") as folder:
        trees = [Tree(Path(folder) / str(number)) for number in range(given.jobs)]
        if given.suite == "simulation":
            judge = by_simulation(trees[0], given.seeds)
        else:
            judge = by_tests(trees, seconds=given.seconds, again=given.map)
        fates = all_fates(mutants, trees, judge)
    print_report(mutants, fates)


def draw(targets: Sequence[str], *, sample: int, seed: int) -> list[Mutant]:
    """Some mutants of these modules, at most one of a line; or all of them. Without those that change nothing."""
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("equivalent", [])
    equivalent = {(entry["file"], entry["before"], entry["after"]) for entry in listed}
    files = [path.relative_to(ROOT).as_posix() for target in targets for path in sorted(_modules(ROOT / target))]
    candidates = [mutant for file in files if file != TESTS_OF_STORES for mutant in mutants_of(ROOT, file)]
    mutants = [mutant for mutant in candidates if (mutant.file, mutant.before, mutant.after) not in equivalent]
    if not sample:
        return mutants
    random.Random(seed).shuffle(mutants)
    by_line = {(mutant.file, mutant.line): mutant for mutant in reversed(mutants)}
    return sorted(list(by_line.values())[-sample:], key=lambda mutant: (mutant.file, mutant.line))


def all_fates(mutants: Sequence[Mutant], trees: Sequence[Tree], judge: Callable[[Mutant, Tree], Fate]) -> list[Fate]:
    """What becomes of each, as many at a time as there are trees."""
    free: SimpleQueue[Tree] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def fate(mutant: Mutant) -> Fate:
        tree = free.get()
        try:
            with tree.mutated(mutant):
                return judge(mutant, tree)
        finally:
            free.put(tree)

    fates: list[Fate] = []
    with ThreadPoolExecutor(len(trees)) as pool:
        for mutant, became in zip(mutants, pool.map(fate, mutants), strict=True):
            fates.append(became)
            print(f"{len(fates)} of {len(mutants)}: {mutant.file}:{mutant.line} {became}", file=sys.stderr, flush=True)
    return fates


def by_tests(trees: Sequence[Tree], *, seconds: float, again: bool) -> Callable[[Mutant, Tree], Fate]:
    """A mutant is killed by a test that fails, or by one that hangs."""
    coverage = traced(trees, again=again)

    def judge(mutant: Mutant, tree: Tree) -> Fate:
        tests = coverage.of(mutant, seconds=seconds)
        if not tests:
            return "not covered"
        took = [coverage.seconds[test] for test in tests]
        longest, limit = (START + SLOWER * time for time in (max(took), sum(took)))
        return _fate(tree.run(run_tests, tests, longest, limit=limit))

    return judge


def by_simulation(tree: Tree, seeds: int) -> Callable[[Mutant, Tree], Fate]:
    """A mutant is killed by a seed that fails, or that never ends. The unbroken tree shows how long they take."""
    started = time.monotonic()
    if tree.run(run_seeds, seeds, limit=3600) != 0:
        sys.exit("the simulation fails without any mutant")
    limit = START + SLOWER * (time.monotonic() - started)
    return lambda mutant, tree: _fate(tree.run(run_seeds, seeds, limit=limit))


def traced(trees: Sequence[Tree], *, again: bool) -> Coverage:
    """What the default tests enter, from `MAP`, after the files that have changed since were run (or all, `again`)."""
    digests = {f"tests/{path.name}": _digest(path) for path in sorted((ROOT / "tests").glob("test_*.py"))}
    before = {} if again or not MAP.exists() else json.loads(MAP.read_text(encoding="utf-8"))
    then: dict[str, str] = before.get("files", {})
    changed = [file for file, digest in digests.items() if then.get(file) != digest]
    kept = {file for file, digest in then.items() if digests.get(file) == digest}
    seconds = {test: took for test, took in before.get("seconds", {}).items() if _file(test) in kept}
    tests = {
        name: [test for test in entering if _file(test) in kept] for name, entering in before.get("tests", {}).items()
    }
    MAP.parent.mkdir(exist_ok=True)
    for start in range(0, len(changed), AT_ONCE):
        files = changed[start : start + AT_ONCE]
        for part in trace(files, trees):
            seconds.update(part.seconds)
            for name, entering in part.tests.items():
                tests.setdefault(name, []).extend(entering)
        kept.update(files)
        known = {"files": {file: digests[file] for file in sorted(kept)}, "seconds": seconds, "tests": tests}
        MAP.write_text(json.dumps(known), encoding="utf-8")
    return Coverage(seconds, tests)


def trace(files: Sequence[str], trees: Sequence[Tree]) -> list[Coverage]:
    """What these files' tests enter; they are dealt to the trees."""
    print(f"running {len(files)} files of tests, traced ...", file=sys.stderr, flush=True)

    def part(tree: Tree, dealt: Sequence[str]) -> Coverage:
        path = tree.root.parent / "map.json"
        tree.run(trace_tests, dealt, tree.root, path, limit=3600)
        if not path.exists():
            output = (tree.root.parent / "output.txt").read_text()
            raise RuntimeError(f"the traced tests broke off:\n{output[-3000:]}")
        return Coverage(**json.loads(path.read_text(encoding="utf-8")))

    dealt = [(tree, files[number :: len(trees)]) for number, tree in enumerate(trees)]
    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(lambda pair: part(*pair), [pair for pair in dealt if pair[1]]))


def print_report(mutants: Sequence[Mutant], fates: Sequence[Fate]) -> None:
    """How many were killed, by folder; then who was not."""
    counts: dict[str, Counter[Fate]] = {}
    for mutant, fate in zip(mutants, fates, strict=True):
        counts.setdefault(Path(mutant.file).parent.as_posix(), Counter())[fate] += 1
    print(f"{'':28}{'mutants':>8}{'killed':>8}{'hang':>6}{'survived':>10}{'not covered':>13}")
    total: Counter[Fate] = sum(counts.values(), Counter())
    for folder, count in [*sorted(counts.items()), ("all", total)]:
        dead, hang, alive, bare = (count[fate] for fate in ("killed", "hangs", "survived", "not covered"))
        print(
            f"{folder:28}{count.total():>8}{dead:>8}{hang:>6}{alive:>10}{bare:>13}  {(dead + hang) / count.total():.0%}"
        )
    for mutant, fate in zip(mutants, fates, strict=True):
        if fate in ("survived", "not covered"):
            print(f"\n{mutant.file}:{mutant.line} {fate}\n  - {mutant.before}\n  + {mutant.after}")


# In the processes that are started


def _at_home(root: Path, work: Callable[..., None], arguments: Sequence[object]) -> None:
    os.setsid()
    os.chdir(root)
    sys.dont_write_bytecode = False
    sys.path[:0] = [str(root), str(root / "tests"), str(root / "tools")]
    os.environ["PYTHONPATH"] = str(root)
    with (root.parent / "output.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    work(*arguments)


def run_tests(tests: Sequence[str], longest: float) -> None:
    """Until one fails, or takes longer than that."""
    sys.exit(pytest.main(["-x", f"--timeout={longest:.0f}", *QUIETLY, *tests]))


def trace_tests(files: Sequence[str], root: Path, path: Path) -> None:
    """All of them; nothing is written if pytest itself broke off, as the map would lack the tests after that."""
    tracer = Tracer(root)
    lenient = ["--continue-on-collection-errors", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
    status = pytest.main([*QUIETLY, *lenient, *files], plugins=[tracer])
    if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        tracer.write(path)


def run_seeds(seeds: int) -> None:
    """Until one fails."""
    from simulate import DOORS, run_one

    sys.exit(any(isinstance(run_one(door, seed), str) for seed in range(seeds) for door in DOORS))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file(test: str) -> str:
    return test.partition("::")[0]


def _fate(status: int | None) -> Fate:
    return "hangs" if status is None else "survived" if status == 0 else "killed"


def _modules(path: Path) -> Iterator[Path]:
    return iter([path]) if path.is_file() else path.rglob("*.py")


if __name__ == "__main__":
    main()
