"""What the demo finds, over several seeds: the tables of docs/demo.md.

    python tools/demo_gain.py --seeds 1 2 3             # make demo
    python tools/demo_gain.py small --seeds 1 2 3       # make demo ARGS=--small
    python tools/demo_gain.py starter --seeds 1 2 3     # metaspo init, and its run
    python tools/demo_gain.py small --seeds 1 2 3 --write small  # files for `metaspo compare`

Runs it for each seed (what is in the cache is not asked again) and prints the scores on the unseen target tasks,
before and after, with 95% intervals.
"""

import argparse
import asyncio
import shutil
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import metaspo
from metaspo.engine import Prepared
from metaspo.engine.config.load import with_overrides
from metaspo.engine.config.toml import as_toml
from metaspo.engine.demo import DEMO_FOLDER, demo_config
from metaspo.engine.statistics import Interval, SplitGrades, compare

STARTER = Path(metaspo.__file__).parent / "starter" / "metaspo.toml"

Graded = dict[str, list[SplitGrades]]  # by task


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="?", choices=("demo", "small", "starter"), default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="only write the config, and a comparison with it")
    given = parser.parse_args()
    if given.write:
        write_comparison(given.write, small=given.which == "small", seeds=given.seeds)
        return
    asyncio.run(measure(given.which, given.seeds, given.model))


async def measure(which: str, seeds: list[int], model: str) -> None:
    """Every seed's gain, then all seeds together, then task by task."""
    before: Graded = defaultdict(list)
    after: Graded = defaultdict(list)
    print("| seed | default | optimized | gain | 95% interval | malformed | calls | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    prompts = {}
    for seed in seeds:
        prepared = _prepared(which, {"base.model": model, "seed": seed})
        report = await metaspo.optimize(prepared)
        prompts[seed] = report.result.system_prompt
        print(_row(seed, report))
        _collect(prepared, report.result, before, after)
    print("\n| target task | default | optimized | gain | 95% interval |\n|---|---|---|---|---|")
    for name in before:
        print(_means(name, before[name], after[name]))
    print(_means("**all**", chain.from_iterable(before.values()), chain.from_iterable(after.values())))
    for seed, prompt in prompts.items():
        print(f"\nSeed {seed}:\n\n```\n{prompt}\n```")


def write_comparison(folder: Path, *, small: bool, seeds: list[int]) -> None:
    """The demo's config, and fixed prompts beside what it finds, as files."""
    config = demo_config(small=small)
    for task in config["tasks"]:
        task |= {split: str(DEMO_FOLDER / task[split]) for split in ("train", "test") if split in task}
    grid = tomllib.loads((DEMO_FOLDER / "compare.toml").read_text(encoding="utf-8")) | {"seeds": seeds}
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO_FOLDER / "person.txt", folder)
    for name, table in (("demo", config), ("compare", grid)):
        lines = [f"{key} = {as_toml(value)}\n" for key, value in table.items()]
        (folder / f"{name}.toml").write_text("".join(lines), encoding="utf-8")


def _prepared(which: str, overrides: dict[str, Any]) -> Prepared:
    if which == "starter":
        return metaspo.prepare(STARTER, overrides=overrides)
    config = with_overrides(demo_config(small=which == "small"), overrides)
    return metaspo.prepare(config, data_folder=DEMO_FOLDER)


def _row(seed: int, report: metaspo.RunReport) -> str:
    gain = next(gain for gain in report.result.gains if gain.role == "target")
    rows = [row for row in report.result.tests if row.role == "target"]
    malformed = [sum(row.malformed for row in rows if row.stage == stage) for stage in ("before", "after")]
    use = report.usage.total
    return (
        f"| {seed} | {gain.before:.1%} | {gain.after:.1%} | {100 * gain.gain:+.1f} | {_points(gain.interval)} "
        f"| {malformed[0]} → {malformed[1]} of {sum(row.examples for row in rows) // 2} "
        f"| {use.calls + use.hits:,} | {report.seconds:,.0f} |"
    )


def _collect(prepared: Prepared, result: metaspo.RunResult, before: Graded, after: Graded) -> None:
    """Add a run's grades, by the questions that its seed drew."""
    questions = {task.name: [example.question for example in task.test] for task in prepared.tasks}
    for row in result.tests:
        if row.role == "target" and row.stage in ("before", "after"):
            there = before if row.stage == "before" else after
            there[row.task].append(row.split_grades(questions=questions[row.task], seed=result.seed))


def _means(name: str, before: Iterable[SplitGrades], after: Iterable[SplitGrades]) -> str:
    comparison = compare(list(after), list(before))
    return (
        f"| {name} | {comparison.score_b:.1%} | {comparison.score_a:.1%} | {100 * comparison.difference:+.1f} "
        f"| {_points(comparison.interval)} |"
    )


def _points(interval: Interval) -> str:
    return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


if __name__ == "__main__":
    main()
