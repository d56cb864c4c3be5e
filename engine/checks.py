"""What of a config shows only beyond its own shape: whether its strategies and tiers are known, and what they need."""

from collections.abc import Sequence

from metaspo.engine.config import ConfigError, RunConfig
from metaspo.engine.lanes import lane_settings
from metaspo.engine.strategies import UnknownStrategy, inner_strategy, outer_strategy
from metaspo.engine.tasks import Task


def check_config(config: RunConfig, *, source: str) -> None:
    """Raises `ConfigError`, with `source` (the file) and key, for a config whose run could not even start."""
    for role, table in (("base", config.base), ("optimizer", config.optimizer)):
        if table is not None:
            try:
                lane_settings(table)
            except ConfigError as error:
                raise ConfigError(f"{source}: {role}.tier: {error}") from None
    for loop, make, name in (
        ("inner", inner_strategy, config.inner.strategy),
        ("outer", outer_strategy, config.outer.strategy),
    ):
        try:
            make(name)
        except UnknownStrategy as error:
            raise ConfigError(f"{source}: {loop}.strategy: {error}") from None


def check_optimizable(config: RunConfig, tasks: Sequence[Task], *, source: str) -> None:
    """Raises `ConfigError` where there is nothing to optimize on, or no optimizer model that a strategy needs."""
    if not any(task.role == "source" for task in tasks):
        raise ConfigError(
            f'{source}: tasks: optimizing needs at least one with role = "source"; '
            "`metaspo evaluate` scores prompts without"
        )
    strategies = (
        ("inner", inner_strategy(config.inner.strategy), config.inner.candidates),
        ("outer", outer_strategy(config.outer.strategy), config.outer.candidates),
    )
    for loop, strategy, candidates in strategies:
        if strategy.calls_optimizer and candidates and config.iterations and config.optimizer is None:
            raise ConfigError(
                f"{source}: optimizer: is missing: the {loop} loop's strategy '{strategy.name}' asks an optimizer "
                'model; add an [optimizer] table, or choose strategy = "embedded"'
            )
