"""What of a config shows only beyond its own shape: whether its strategies and tiers are known, and what they need."""

from collections.abc import Callable, Sequence

from metaspo.engine.config import ConfigError, RunConfig
from metaspo.engine.lanes import lane_settings
from metaspo.engine.strategies import InnerStrategy, OuterStrategy, UnknownStrategy, inner_strategy, outer_strategy
from metaspo.engine.tasks import Task


def check_config(config: RunConfig, *, source: str) -> None:
    """Raises `ConfigError`, with `source` (the file) and key, for a config whose run could not even start."""
    for role, table in (("base", config.base), ("optimizer", config.optimizer)):
        if table is not None:
            try:
                lane_settings(table)
            except ConfigError as error:
                raise ConfigError(f"{source}: {role}.tier: {error}") from None
    _check_loop(config, "inner", inner_strategy, config.inner.strategy, config.inner.candidates, source)
    _check_loop(config, "outer", outer_strategy, config.outer.strategy, config.outer.candidates, source)


def check_sources(config: RunConfig, tasks: Sequence[Task]) -> None:
    """Raises `ConfigError` where there is nothing to optimize on."""
    if not any(task.role == "source" for task in tasks):
        raise ConfigError(
            f'{config.name or "config"}: tasks: optimizing needs at least one with role = "source"; '
            "`metaspo evaluate` scores prompts without"
        )


def _check_loop(
    config: RunConfig,
    loop: str,
    make: Callable[[str], InnerStrategy | OuterStrategy],
    name: str,
    candidates: int,
    source: str,
) -> None:
    try:
        strategy = make(name)
    except UnknownStrategy as error:
        raise ConfigError(f"{source}: {loop}.strategy: {error}") from None
    if strategy.calls_optimizer and candidates and config.iterations and config.optimizer is None:
        raise ConfigError(
            f"{source}: optimizer: is missing: the {loop} loop's strategy '{name}' asks an optimizer model; "
            'add an [optimizer] table, or choose strategy = "embedded"'
        )
