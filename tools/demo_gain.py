"""What the demo finds, over several seeds: the table of docs/demo.md.

    python tools/demo_gain.py --seeds 1 2 3

Runs the demo for each seed (what is in the cache is not asked again) and prints the scores on the unseen target tasks,
before and after, with 95% intervals.
"""

import argparse
import asyncio
from collections import defaultdict
from statistics import fmean

import metaspo
from metaspo.engine import Prepared
from metaspo.engine.config.load import with_overrides
from metaspo.engine.demo import DEMO_FOLDER, demo_config
from metaspo.engine.statistics import Interval, paired_gain_interval

Pair = tuple[float, float]
ByQuestion = dict[str, list[Pair]]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    given = parser.parse_args()
    asyncio.run(measure(given.seeds, given.model))


async def measure(seeds: list[int], model: str) -> None:
    """Every seed's gain, then all seeds together, then task by task."""
    tasks: dict[str, ByQuestion] = defaultdict(lambda: defaultdict(list))
    print("| seed | default | optimized | gain | 95% interval | malformed | calls | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    prompts = {}
    for seed in seeds:
        config = with_overrides(demo_config(small=False), {"base.model": model, "seed": seed})
        prepared = metaspo.prepare(config, data_folder=DEMO_FOLDER)
        report = await metaspo.optimize(prepared)
        prompts[seed] = report.result.system_prompt
        print(_row(seed, report))
        _collect(prepared, report.result, tasks)
    print("\n| target task | default | optimized | gain | 95% interval |\n|---|---|---|---|---|")
    for name, questions in tasks.items():
        print(_means(name, [questions]))
    print(_means("**all**", list(tasks.values())))
    for seed, prompt in prompts.items():
        print(f"\nSeed {seed}:\n\n```\n{prompt}\n```")


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


def _collect(prepared: Prepared, result: metaspo.RunResult, tasks: dict[str, ByQuestion]) -> None:
    """Add a run's grades before and after, question by question: seeds sample different questions."""
    rows = {(row.task, row.stage): row for row in result.tests if row.role == "target"}
    for task in prepared.tasks:
        before, after = rows.get((task.name, "before")), rows.get((task.name, "after"))
        if before is None or after is None:
            continue
        for example, a, b in zip(task.test, before.grades, after.grades, strict=True):
            if a is not None and b is not None:
                tasks[task.name][example.question].append((a, b))


def _means(name: str, tasks: list[ByQuestion]) -> str:
    """Mean over seeds for each question first: a question asked under three seeds is still one question."""
    before = [[fmean(pair[0] for pair in pairs) for pairs in task.values()] for task in tasks]
    after = [[fmean(pair[1] for pair in pairs) for pairs in task.values()] for task in tasks]
    first, last = fmean(map(fmean, before)), fmean(map(fmean, after))
    interval = paired_gain_interval(before, after)
    return f"| {name} | {first:.1%} | {last:.1%} | {100 * (last - first):+.1f} | {_points(interval)} |"


def _points(interval: Interval) -> str:
    return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


if __name__ == "__main__":
    main()
