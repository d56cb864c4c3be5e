"""What a journal tells of the waits at barriers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EVENT = "barrier"


def barriers(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The waits of the last session in a journal: each barrier's, and added up; `share` is of the rounds' seconds."""
    waits: list[Mapping[str, Any]] = []
    for event in events:
        if event["event"] == "start":
            waits = []
        elif event["event"] == EVENT:
            waits.append(event)
    seconds, idle = _sum(waits, "seconds"), _sum(waits, "idle")
    return {
        "idle": idle,
        "share": idle / seconds if seconds else 0.0,
        "each": [{name: wait[name] for name in ("address", "seconds", "waited", "idle")} for wait in waits],
    }


def _sum(waits: Sequence[Mapping[str, Any]], name: str) -> float:
    return round(math.fsum(wait[name] for wait in waits), 3)
