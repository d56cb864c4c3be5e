"""Whether the live page stays smooth while thousands of events a second are written: frames of a headless Chromium.

A finished run's journal gets lines at a given rate, most of them of the servers, now and then a proposal and its score.
The page counts how long each of its frames takes, and how old the newest line is that it has; the browser counts the
CPU time of the page, all in all and from frame to frame, which other work on the machine does not change. Without
events, and with them.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from metaspo.bench.browser import CHROMIUM, Page, open_page
from metaspo.bench.instant import InstantModel
from metaspo.bench.report import Report, Row
from metaspo.bench.watching import small_run
from metaspo.bench.workload import answer
from metaspo.cache import MemoryStore
from metaspo.engine.api import optimize
from metaspo.engine.watch import serve_beside
from metaspo.scheduling import Gateway, Lane, LaneSettings

EVERY = 0.01  # seconds between two writes
PROPOSALS = 250  # events for each proposal
PROBE = """
window.frames_ms = []; window.ages_ms = [];
const first = seen.lines[seen.lines.length - 1];
let before = performance.now();
const frame = (now) => {
  window.frames_ms.push(now - before); before = now;
  const last = seen.lines[seen.lines.length - 1];
  if (last !== first) window.ages_ms.push(Date.now() - last.sent);
  requestAnimationFrame(frame);
};
requestAnimationFrame(frame); 0
"""


def measure_flood(*, rate: int, seconds: float) -> Report:
    """Frames without events and with them, on the page's candidates and on its log; no rows without a Chromium."""
    rows = asyncio.run(_measure(rate, seconds)) if CHROMIUM else []
    missing = () if CHROMIUM else ("There is no Chromium on this machine: nothing was measured.",)
    notes = (
        "cpu: what the page takes, whatever else is at work. age: of the newest line that it has.",
        "work: CPU of its main thread from one frame to the next, which has 17 ms where there are 60 a second.",
        "Frames are late, too, where other programs want the cores.",
        *missing,
    )
    return Report(scenario="page", title="The live page while events come in", rows=rows, notes=notes)


async def _measure(rate: int, seconds: float) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        prepared = small_run(Path(folder))
        lanes = [Lane(name, [InstantModel(answer)], LaneSettings(concurrency=20)) for name in ("base", "optimizer")]
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            await optimize(prepared, gateway=gateway)
        run = prepared.directory
        assert run is not None
        rows: list[Row] = []
        with serve_beside(run.path.parent, port=0) as address:
            for tab, events in (("candidates", 0), ("candidates", rate), ("log", rate)):
                async with open_page() as page:
                    await page.resize(1200, 800)
                    await page.open(f"{address}?run={run.name}")
                    await page.until("document.querySelectorAll('#tree details').length > 2")
                    await page.value(f"showTab('{tab}')")
                    await page.until(f"!dirty.has('{tab}') && seen.answers")
                    await page.send("Performance.enable", timeDomain="threadTicks")
                    await page.value(PROBE)
                    before = await _taken(page)
                    await page.trace()
                    began = time.monotonic()
                    wrote = await _write(run.journal, events, seconds)
                    await page.until(f"window.frames_ms.length > 2 && ({events} === 0 || window.ages_ms.length)")
                    passed = time.monotonic() - began
                    work = _work(await page.traced())
                    taken = await _taken(page)
                    cpu = {f"cpu s/s, {name}": (taken[name] - before[name]) / passed for name in taken}
                    frames = await _frames(page, passed)
                    rows.append({"page shows": tab, "events/s": wrote / seconds, **cpu, **work, **frames})
        return rows


async def _write(journal: Path, rate: int, seconds: float) -> int:
    """Append events for so long, all that are due by then; how many."""
    start, passed, written = time.monotonic(), 0.0, 0
    with journal.open("ab", buffering=0) as file:
        while passed < seconds:
            await asyncio.sleep(EVERY)
            passed = min(seconds, time.monotonic() - start)
            due = round(passed * rate)
            file.write(b"".join(_event(number) for number in range(written, due)))
            written = due
    return written


def _event(number: int) -> bytes:
    sent = {"sent": round(1000 * time.time())}
    if number % PROPOSALS == 0:
        address = f"iter=9/outer/cand={number}"
        proposal = {"event": "proposal", "address": address, "level": "system", "text": f"Be exact, {number}.", **sent}
        return orjson.dumps(proposal, option=orjson.OPT_APPEND_NEWLINE)
    lane: dict[str, Any] = {"event": "lane", "address": "", "what": "Retried", "lane": "base", "number": number, **sent}
    return orjson.dumps(lane, option=orjson.OPT_APPEND_NEWLINE)


async def _taken(page: Page) -> dict[str, float]:
    """CPU seconds that the page has taken so far: its main thread, and all of its process."""
    metrics = {each["name"]: each["value"] for each in (await page.send("Performance.getMetrics"))["metrics"]}
    return {"main thread": metrics["ThreadTime"], "page's process": metrics["ProcessTime"]}


def _work(trace: Sequence[dict[str, Any]]) -> Row:
    """CPU of the page's main thread from frame to frame."""
    at = sorted(event["tts"] for event in trace if event["name"] == "FireAnimationFrame" and "tts" in event)
    work = sorted((after - before) / 1000 for before, after in itertools.pairwise(at))
    return {"work p50 ms": _at(work, 0.5), "work p99 ms": _at(work, 0.99), "work max ms": _at(work, 1.0)}


async def _frames(page: Page, seconds: float) -> Row:
    frames = sorted((await page.value("window.frames_ms"))[1:])
    ages = sorted(await page.value("window.ages_ms"))
    return {
        "frames/s": len(frames) / seconds,
        "frame p50 ms": _at(frames, 0.5),
        "frame p99 ms": _at(frames, 0.99),
        "frame max ms": _at(frames, 1.0),
        "age p50 ms": _at(ages, 0.5),
        "age p99 ms": _at(ages, 0.99),
    }


def _at(values: Sequence[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(len(values) * share))] if values else None
