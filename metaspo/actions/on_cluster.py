"""`--on ADDRESS`: runs and cells on the nodes of a Ray cluster. What they leave comes back, and is told as ever."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from metaspo.console import ExitCode, err, say_warning
from metaspo.engine import Prepared
from metaspo.engine.cluster import Outcome, Part, check_parts, part_of, run_on, seen_by_all, unpack
from metaspo.engine.studies import Grid

OPTION = "--on"


def runs_on(
    address: str, prepared: Sequence[Prepared], configs: Sequence[Path], options: Sequence[str], *, quiet: bool
) -> list[str]:
    """Optimize on a cluster, each config on a node; why a run has no result, "" for one that has.

    Raises as `metaspo.engine.cluster.run_on` and `check_parts`.
    """
    project = check_parts(prepared, files=configs, option=OPTION)
    names = [item.config.name for item in prepared]
    paths = [str(path.resolve().relative_to(project)) for path in configs]
    commands = [["optimize", path, "--quiet", *options] for path in paths]
    return _run(address, prepared, names, commands, kept=[True] * len(prepared), project=project, quiet=quiet)


def cells_on(address: str, grid: Grid, path: Path, arguments: Sequence[str], *, quiet: bool) -> dict[int, str]:
    """Run the cells of a grid on a cluster; by position, why a cell was not finished there."""
    prepared = [cell.prepared for cell in grid.cells]
    project = check_parts(prepared, files=[path, grid.folder / grid.config.config], option=OPTION)
    there = str(path.resolve().relative_to(project))
    commands = [
        ["compare", there, "--cell", str(number), "--quiet", *arguments] for number in range(1, len(prepared) + 1)
    ]
    kept = [not cell.method.fixed for cell in grid.cells]
    names = [f"cell {number}, {cell.prepared.config.name}" for number, cell in enumerate(grid.cells, 1)]
    faults = _run(
        address, prepared, names, commands, kept=kept, project=project, quiet=quiet, parallel=grid.config.parallel
    )
    return {position: fault for position, fault in enumerate(faults) if fault}


def _run(
    address: str,
    prepared: Sequence[Prepared],
    names: Sequence[str],
    commands: Sequence[Sequence[str]],
    *,
    kept: Sequence[bool],
    project: Path,
    quiet: bool,
    parallel: int | None = None,
) -> list[str]:
    with ExitStack() as stack:
        seen = {cache: stack.enter_context(seen_by_all(cache)) for cache in {item.config.cache for item in prepared}}
        parts = [
            part_of(item, command, name=name, kept=keeps, seen=seen[item.config.cache])
            for item, name, command, keeps in zip(prepared, names, commands, kept, strict=True)
        ]
        whose = dict(zip(parts, prepared, strict=True))
        ended = 0

        def told(part: Part, outcome: Outcome) -> None:
            nonlocal ended
            ended += 1
            if part.run and (directory := whose[part].directory):
                unpack(outcome, directory)
            if not quiet:
                err.print(f"{ended}/{len(parts)} {part.name}: {_how(outcome, whose[part].config.name)}")

        outcomes = run_on(address, parts, project=project, parallel=parallel or len(parts), told=told, warn=say_warning)
    return [
        _reason(outcome, item.config.name) if outcome.status else ""
        for outcome, item in zip(outcomes, prepared, strict=True)
    ]


def _how(outcome: Outcome, name: str) -> str:
    """How the part of a run of that name ended, and where."""
    where = f" on {outcome.node}" if outcome.node else ""
    match outcome.status:
        case 0:
            return f"done{where}"
        case ExitCode.INTERRUPTED:
            return f"interrupted{where}"
    return f"not finished{where}: {_reason(outcome, name)}"


def _reason(outcome: Outcome, name: str) -> str:
    """Why a part did not get to its end, in its own words, which begin with the name of its run."""
    errors = [line.removeprefix("error: ") for line in outcome.said.splitlines() if line.startswith("error: ")]
    told = [line.removeprefix(f"{name}: ") for line in errors]
    return "; ".join(told) or outcome.said.strip() or f"ended with status {outcome.status}"
