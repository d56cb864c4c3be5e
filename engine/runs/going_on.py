"""How to go on with a run that has not finished: the command, or why there is none."""

import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.runs.command import BUDGET, last_command, others_of, setting, table, table_in
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.spent_before import require_known

CAPS = ("calls", "tokens", "dollars")  # over all sessions
HIGHER = 2  # times a cap that was reached is offered


class GoingOn(NamedTuple):
    """The command that goes on with a run, or why none does; both "" where nothing is known."""

    command: str = ""
    hindered: str = ""


def going_on(run: RunDirectory) -> GoingOn:
    """The command goes on under the caps that were set. There is none where the same one has begun another run since,
    of a config, data or rules that have changed, and where it would be refused."""
    command = last_command(run)
    if not command:
        return GoingOn()
    with suppress(OSError):
        began = run.config.stat().st_mtime
        if any(other.config.stat().st_mtime > began for other in others_of(run, command)):
            return GoingOn()
    origin = table_in(run.origin)
    file = Path(str(origin.get("config", "")))
    if not file.is_file():
        return GoingOn(hindered=f"{file}: there is no such file any more; it is the config of {run.name}")
    if origin.get("command") == command:  # of which the caps are
        return GoingOn(command)
    capped = any(table(table_in(run.config).get("budget")).get(cap) is not None for cap in CAPS)
    try:
        require_known(run, capped=capped)
    except RunDirectoryError as reason:
        return GoingOn(hindered=str(reason))
    return GoingOn(shlex.join((*shlex.split(command), *_caps(run))))


def _caps(run: RunDirectory) -> Iterator[str]:
    """Options that set the caps that were set for the last session; one that stopped it is raised."""
    cap = str(table_in(run.summary).get("cap"))
    limit = table(table_in(run.config).get("budget")).get(cap) if cap in CAPS else None
    stopped_by = limit if isinstance(limit, int | float) and _older(run.config, run.summary) else None
    reached = f"{BUDGET}.{cap}" if stopped_by is not None else ""
    for key, value in table(table_in(run.origin).get("set")).items():
        if key.startswith(BUDGET) and key != reached and value is not None:
            yield from setting(key, value)
    if stopped_by is not None:
        yield from setting(reached, HIGHER * stopped_by)


def _older(path: Path, than: Path) -> bool:
    return path.stat().st_mtime_ns <= than.stat().st_mtime_ns
