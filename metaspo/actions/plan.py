"""What runs will need, worked out and told."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaspo.backends.paths import write_whole
from metaspo.console import exit_on_user_error, out, say_warning
from metaspo.engine import ConfigError, Plan, Prepared, check_optimizable, find_run, plan_run, prepare
from metaspo.engine.config.plan import ASSUMED, Pace
from metaspo.engine.config.toml import read_toml
from metaspo.engine.runs.prepare import tell_notices
from metaspo.overrides import all_overrides, naming_calls
from metaspo.tables import printing
from metaspo.tables.plan import all_plans, caps_reached, plan_data, print_plan, print_scale, scale_data

if TYPE_CHECKING:
    from metaspo.engine.studies.needs import Need
    from metaspo.engine.studies.scale import AtScale

MAX_REPLICAS = 100_000  # replicas


def plan_configs(
    configs: Sequence[Path],
    calls: int | None,
    sets: list[str] | None,
    *,
    replicas: str,
    tier: str,
    speed: float | None,
    like: str,
    gpu_dollars: float | None,
    picture: Path | None,
    runs: Path,
    json: bool,
) -> None:
    """Print what runs of them will need, or of a grid's cells."""
    with exit_on_user_error(), naming_calls(calls, sets):
        if like and speed is not None:
            raise ConfigError("--like and --speed both say how fast a replica is: give one of them")
        like, pace = _pace(like, speed, runs)
        is_grid = any("config" in read_toml(path) for path in configs)
        if replicas or tier or is_grid or picture or gpu_dollars is not None:
            prepared, needs, parallel = _needs(configs, all_overrides(calls, sets), is_grid=is_grid)
            tell_notices(prepared, say_warning)
            scales = _scales(needs, replicas or "1", tier, pace, parallel, gpu_dollars)
            if picture is not None:
                _draw(scales, picture)
            if json:
                printing.print_json(out, scale_data(scales, pace, like=like))
            else:
                print_scale(out, scales, needs, pace, like=like)
            return
        prepared = [_prepared(path, all_overrides(calls, sets)) for path in configs]
        tell_notices(prepared, say_warning)
        plans = [plan_run(item.config, item.tasks, pace=pace) for item in prepared]
    _tell(prepared, plans, like=like, json=json)


def _tell(prepared: Sequence[Prepared], plans: Sequence[Plan], *, like: str, json: bool) -> None:
    paired = list(zip(prepared, plans, strict=True))
    if json:
        plans_of = [
            plan_data(item.config.name, plan, item.notices, caps=caps_reached(item.config.budget, [plan]))
            for item, plan in paired
        ]
        printing.print_json(out, plans_of)
        return
    for item, estimate in paired:
        print_plan(out, item.config, estimate, like=like)
        if item.start.run:
            printing.say(out, item.start.sentence)
    if len(plans) > 1:
        printing.say(out, all_plans(plans))


def _prepared(path: Path, overrides: Mapping[str, Any]) -> Prepared:
    item = prepare(path, overrides=overrides)
    check_optimizable(item.config, item.tasks, source=item.source)
    return item


def _pace(like: str, speed: float | None, runs: Path) -> tuple[str, Pace]:
    """The pace, and the whole name of the run that it is of."""
    if not like:
        return "", ASSUMED if speed is None else Pace(speed=speed)
    from metaspo.engine.runs.speed import measured_pace

    run = find_run(like, base=runs)
    return run.name, measured_pace(run)


def _needs(
    paths: Sequence[Path], overrides: Mapping[str, Any], *, is_grid: bool
) -> "tuple[list[Prepared], list[Need], int]":
    """What is to be asked for, of how many runs at a time. Raises `ConfigError`."""
    from metaspo.engine.config.calls import count_calls
    from metaspo.engine.studies.needs import Need, needs_of

    if not is_grid:
        prepared = [_prepared(path, overrides) for path in paths]
        needs = [
            Need(
                name=item.config.name, config=item.config, tasks=item.tasks, calls=count_calls(item.config, item.tasks)
            )
            for item in prepared
        ]
        return prepared, needs, len(needs)
    from metaspo.engine.studies.grid import load_grid

    if len(paths) > 1 or overrides:
        raise ConfigError("a grid is planned alone, as it stands: give one file, without --calls and --set")
    grid = load_grid(paths[0])
    needs = [need for cell in grid.cells for need in needs_of(grid, cell)]
    return [cell.prepared for cell in grid.cells], needs, grid.config.parallel


def _scales(
    needs: "Sequence[Need]", replicas: str, tier: str, pace: Pace, parallel: int, gpu_dollars: float | None
) -> "list[AtScale]":
    from metaspo.engine.studies.scale import at_scales

    counts, tiers = _numbers("--replicas", replicas, least=1), _numbers("--tier", tier, least=0)
    return at_scales(
        needs, replicas=counts, tiers=tiers or [None], pace=pace, parallel=parallel, gpu_dollars=gpu_dollars
    )


def _numbers(option: str, text: str, *, least: int) -> list[int]:
    """Numbers between commas, each once, in order. Raises `ConfigError`."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(
        part.isascii() and part.isdigit() and len(part) < 10 and least <= int(part) <= MAX_REPLICAS for part in parts
    ):
        raise ConfigError(
            f"{option} {text}: give numbers from {least} to {MAX_REPLICAS:,} with commas between them: 1,4,16"
        )
    return sorted({int(part) for part in parts})


def _draw(scales: "Sequence[AtScale]", path: Path) -> None:
    """Raises `ConfigError` where the libraries for pictures are not there, or for another kind of file."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise ConfigError(f"--picture {path}: give a name that ends in .svg or .png")
    try:
        from metaspo.engine.report.figures import draw
        from metaspo.engine.report.scale_figure import scale_figure
    except ModuleNotFoundError as error:
        raise ConfigError(f"a picture needs '{error.name}': pip install 'metaspo[report]'") from None
    write_whole(path, draw(scale_figure(scales), "svg" if kind == "svg" else "png"))
