"""What a run's journal tells: how the score rose, over what was spent, and where every prompt came from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

Event = Mapping[str, Any]
Level = Literal["user", "system"]
SPENT = ("calls", "dollars", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The incumbent's score at one moment.

    Attributes:
        address: what had just been selected, e.g. `iter=1/outer`.
        score: mean over the (task, kept user prompt) nodes on the train splits, each with its task's weight, 0 to 1.
        calls, dollars, seconds: spent by then, all sessions together.
    """

    address: str
    score: float
    calls: int = 0
    dollars: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """One prompt that was proposed.

    Attributes:
        task: "" for a system prompt.
        parent: the prompt it was to improve on.
        score: of the candidate scored in full, None if it was not.
        fate: "kept" (selected), "passed over", "dropped" (rejected before it was scored in full), or why there is none.
    """

    address: str
    level: Level
    task: str
    text: str
    parent: str
    score: float | None
    fate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A run as its journal tells it."""

    points: tuple[Point, ...]
    proposals: tuple[Proposed, ...]


def history(
    events: Sequence[Event],
    *,
    system_prompt: str,
    user_prompts: Mapping[str, str],
    weights: Mapping[str, float] | None = None,
) -> History:
    """Read a journal; the first prompts are those that the run started from, weights are of tasks, 1 if left out."""
    once = list(_once(events))
    return History(
        points=tuple(_points(once, weights or {})),
        proposals=tuple(_proposals(once, system_prompt=system_prompt, user_prompts=user_prompts)),
    )


def _once(events: Iterable[Event]) -> Iterable[Event]:
    """Every event with what all sessions had spent by then; what a rerun only repeats is left out."""
    seen: set[tuple[str, str]] = set()
    before = dict.fromkeys(SPENT, 0.0)
    session = dict.fromkeys(SPENT, 0.0)
    for event in events:
        if event["event"] == "start":
            before = {name: before[name] + session[name] for name in SPENT}
            session = dict.fromkeys(SPENT, 0.0)
        elif event["event"] == "spent":
            session = {name: float(event[name]) for name in SPENT}
        elif (event["event"], event["address"]) not in seen:
            seen.add((event["event"], event["address"]))
            yield {**event, "spent": {name: before[name] + session[name] for name in SPENT}}


def _points(events: Sequence[Event], weights: Mapping[str, float]) -> Iterable[Point]:
    """After the first prompts, after each iteration's inner loops, after each outer loop."""
    first = [event for event in events if event["event"] == "score" and event["address"].startswith("init/")]
    if first:
        yield _point("init", _mean([(event, event["score"]) for event in first], weights), first[-1])
    inner: dict[str, list[Event]] = {}
    for event in events:
        if event["event"] != "select":
            continue
        iteration, loop = event["address"].split("/")[:2]
        if loop == "inner":
            inner.setdefault(iteration, []).append(event)
        elif loop == "outer":
            rounds = inner.pop(iteration, [])
            scores = [(one, kept["score"]) for one in rounds for kept in one["kept"]]
            if scores:
                yield _point(f"{iteration}/inner", _mean(scores, weights), rounds[-1])
            yield _point(event["address"], event["score"], event)


def _mean(scores: Sequence[tuple[Event, float]], weights: Mapping[str, float]) -> float:
    """The mean of scores that events tell, each with the weight of the task in the event's address."""
    own = [weights.get(event["address"].partition("task=")[2].split("/")[0], 1.0) for event, _ in scores]
    return fmean([score for _, score in scores], weights=own)


def _point(address: str, score: float, event: Event) -> Point:
    spent = event["spent"]
    return Point(
        address=address, score=score, calls=int(spent["calls"]), dollars=spent["dollars"], seconds=spent["seconds"]
    )


def _proposals(events: Sequence[Event], *, system_prompt: str, user_prompts: Mapping[str, str]) -> Iterable[Proposed]:
    """Every proposal with its parent and its fate, in the order of the journal."""
    parents: dict[str, str] = {"": system_prompt, **user_prompts}
    scores = {event["address"]: event.get("score") for event in events if event["event"] in ("candidate", "score")}
    dropped = {event["address"] for event in events if event["event"] == "rejected"}
    waiting: list[Proposed] = []
    for event in events:
        address = event["address"]
        if event["event"] == "proposal":
            waiting.append(_proposed(event, parents, score=scores.get(address, scores.get(f"{address}/score"))))
        elif event["event"] == "select":
            kept = [event["system"]] if "system" in event else [one["user"] for one in event.get("kept", ())]
            for one in [one for one in waiting if one.address.startswith(f"{address}/")]:
                waiting.remove(one)
                yield one if one.fate else replace(one, fate=_fate(one, kept, dropped))
            parents[_task_of(address)] = kept[0] if kept else parents[_task_of(address)]
    yield from waiting


def _proposed(event: Event, parents: Mapping[str, str], *, score: float | None) -> Proposed:
    task = _task_of(event["address"])
    level: Level = "user" if task else "system"
    return Proposed(
        address=event["address"],
        level=level,
        task=task,
        text=event.get(level, ""),
        parent=parents.get(task, ""),
        score=score,
        fate=str(event.get("none", "")),
    )


def _fate(one: Proposed, kept: Sequence[str], dropped: set[str]) -> str:
    if one.text in kept:
        return "kept"
    return "dropped" if one.address in dropped and one.score is None else "passed over"


def _task_of(address: str) -> str:
    """The task of an inner loop's address; "" for the outer loop's."""
    found = re.search(r"/inner/task=([^/]+)", address)
    return found.group(1) if found else ""
