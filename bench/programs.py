"""CPU time of a program's calls: programs of five steps beside five times as many plain calls, on one gateway.

The server is a process of its own, on core 0 where cores can be chosen, and what asks it is on core 1; both kinds are
looked up in the cache first, as a run does, and then asked. CPU time is all of the process that asks, with the threads
that write the cache.
"""

import asyncio
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from metaspo.backends import Completion, OpenAICompatible, Sampling
from metaspo.bench.clients import MODEL, WARM_UP
from metaspo.bench.in_flight import AT_ONCE
from metaspo.bench.measure import Timing, keep_to_core, spread, timed_async
from metaspo.bench.overhead import fast_server
from metaspo.bench.report import Report, Row
from metaspo.bench.workload import filler
from metaspo.cache import DiskStore
from metaspo.engine.config.models import Model
from metaspo.engine.evaluation.asking import Base, asking_of
from metaspo.engine.prompts import PromptPair
from metaspo.engine.tasks import Accuracy, Example, Task, Text
from metaspo.engine.tasks.programs import Call, Program
from metaspo.scheduling import Account, Gateway, Lane, LaneSettings

STEPS = 5
PLAIN, PROGRAM = f"{STEPS} plain calls", f"a program of {STEPS} steps"
PAIR = PromptPair(filler(150), "{question}")


async def in_steps(prompts: PromptPair, example: Example, call: Call) -> Completion:
    """One call after the other, each as long as the question alone."""
    for step in range(STEPS - 1):
        await call(prompts.messages(f"{example.question} {step}"))
    return await call(prompts.messages(example.question))


TASK = Task(
    name="bench",
    role="source",
    train=(),
    test=(),
    answer_format=Text(),
    metric=Accuracy(),
    user_prompt=PAIR.user,
)
TASKS = {PLAIN: TASK, PROGRAM: replace(TASK, program=Program(name="in_steps", function=in_steps, max_calls=STEPS))}
EACH = {PLAIN: STEPS, PROGRAM: 1}  # examples for one of the other kind


def measure_programs(*, examples: int, turns: int) -> Report:
    """Plain calls and programs in turns, fresh and again out of the cache, and the ratios of their times."""
    with fast_server() as url:
        timings = asyncio.run(_take_turns(url, examples=examples, turns=turns))
    rows = [_row(kind, name, timings, calls=examples * STEPS) for kind in ("fresh", "again") for name in TASKS]
    notes = [
        f"{examples:,} programs of {STEPS} calls one after the other, and as many calls for an example each, in every "
        f"turn; {AT_ONCE} in flight; ratios are taken turn by turn.",
        "fresh: looked up, asked over HTTP, kept on disk; again: answered by the cache. The aim is a ratio of at most "
        "1.3 where they are fresh.",
    ]
    return Report(scenario="programs", title="CPU per call of programs", rows=rows, notes=notes)


async def _take_turns(url: str, *, examples: int, turns: int) -> dict[tuple[str, str], list[Timing]]:
    keep_to_core(1)  # the server has the other one
    timings: dict[tuple[str, str], list[Timing]] = {(kind, name): [] for kind in ("fresh", "again") for name in TASKS}
    settings = LaneSettings(concurrency=AT_ONCE, requests_per_minute=10**9, tokens_per_minute=10**12)
    lane = Lane("base", [OpenAICompatible(url)], settings)
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        async with DiskStore(Path(folder)) as store, Gateway([lane], store=store) as gateway:
            model = Model(lane="base", name=MODEL, revision="", sampling=Sampling(max_tokens=64))
            base = Base(gateway=gateway, model=model, roles="separate", account=Account("bench"))
            first = 0
            for turn in range(turns + 1):
                for name in TASKS:
                    count = EACH[name] * (examples if turn else WARM_UP // STEPS)
                    numbers = range(first, first := first + count)
                    split = [Example(f"Statement {number}: {filler(120)}", ("",)) for number in numbers]
                    for kind in ("fresh", "again"):
                        timing = await timed_async(partial(_answer, base, name, split))
                        timings[kind, name] += [timing] * bool(turn)  # the first one warms up
    return timings


async def _answer(base: Base, name: str, split: list[Example]) -> None:
    """A split's answers, those of the cache first. Raises `AssertionError` for a refusal."""
    asking = asking_of(base, PAIR, TASKS[name], split)
    there = await asking.recall()
    rows = [row for row in range(len(split)) if row not in there]
    answers = [*there.values(), *(await asking.ask(rows, (0,)) if rows else ())]
    if not all(isinstance(answer, Completion) for answer in answers):
        raise AssertionError("the bench's own server refused a call")


def _row(kind: str, name: str, timings: dict[tuple[str, str], list[Timing]], *, calls: int) -> Row:
    cpu = [1e6 * timing.cpu / calls for timing in timings[kind, name]]
    plain = [1e6 * timing.cpu / calls for timing in timings[kind, PLAIN]]
    return {
        "asked": f"{name}, {kind}",
        "cpu us a call (least)": spread(cpu).least,
        "cpu us a call (median)": spread(cpu).middle,
        "ratio (least)": spread(cpu).least / spread(plain).least,
        "ratio (median)": spread(mine / other for mine, other in zip(cpu, plain, strict=True)).middle,
    }
