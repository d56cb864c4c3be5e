"""Lanes whose calls fit into the files that the process may have open at once: each call out is an open file."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from metaspo.scheduling.file_limit import limit, raise_limit
from metaspo.scheduling.lanes.lane import Lane
from metaspo.scheduling.settings import LaneSettings

OURS = 64  # files besides connections: caches, journals, what the interpreter has open


def make_room(lanes: Sequence[Lane], *, warn: Callable[[str], None], files_a_call: int = 1) -> int | None:
    """Raise the limit, and lower the concurrency of the lanes if their calls do not fit it even so; `warn` is told.

    Returns how many files are left for whoever asks, None for any number.
    """
    raise_limit()
    files = limit()
    fit_lanes(lanes, files, warn=warn, files_a_call=files_a_call)
    return None if files is None else max(files - OURS - sum(map(_max_calls, lanes)), 1)


def fit_lanes(lanes: Sequence[Lane], files: int | None, *, warn: Callable[[str], None], files_a_call: int = 1) -> None:
    """Lower the concurrency of lanes that together might have more connections open than `files` leaves room for.

    `files_a_call` is 2 where whoever asks is connected, too.
    """
    wanted, least = [_max_calls(lane) for lane in lanes], [_min_calls(lane) for lane in lanes]
    total, needed = sum(wanted), sum(least)
    room = total if files is None else max((files - OURS) // files_a_call, needed)
    if total <= room:
        return
    for lane, most, fewest in zip(lanes, wanted, least, strict=True):
        calls = fewest + (room - needed) * (most - fewest) // (total - needed)
        lane.settings = _allowing(lane.settings, calls, endpoints=len(lane.backends))
    warn(
        f"{files} files may be open at once, so at most {room} calls go out together where the config allows for "
        f"{total}: `ulimit -n {total * files_a_call + OURS}` before the command lets all of them"
    )


def _max_calls(lane: Lane) -> int:
    settings = lane.settings
    if settings.concurrency == "auto":
        return settings.max_concurrency * len(lane.backends)
    return settings.concurrency


def _min_calls(lane: Lane) -> int:
    return len(lane.backends) if lane.settings.concurrency == "auto" else 1


def _allowing(settings: LaneSettings, calls: int, *, endpoints: int) -> LaneSettings:
    if settings.concurrency == "auto":
        return replace(settings, max_concurrency=calls // endpoints)
    return replace(settings, concurrency=calls)
