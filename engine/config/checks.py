"""What of a config shows only beyond its own shape: whether its strategies and tiers are known, and what they need."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Final

from metaspo.engine.config.calls import first_calls, induced_prompts, proposing, train_sizes
from metaspo.engine.config.models import lane_settings, model_of, uncounted
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.config.tokens import check_tokenizer
from metaspo.engine.errors import ConfigError
from metaspo.engine.strategies import UnknownStrategy, inner_strategy, outer_strategy
from metaspo.engine.strategies.surrogate import INSTALL, is_installed
from metaspo.engine.tasks import Task
from metaspo.engine.tasks.metric_spec import MetricTable

TRACKERS: Final = {"mlflow": "mlflow", "wandb": "wandb", "tensorboard": "tensorboardX"}  # key and extra: package


def check_config(config: RunConfig, *, source: str) -> None:
    """Raises `ConfigError`, with `source` (the file) and key, for a config whose run could not even start."""
    for role, table in config.models.items():
        try:
            prices = lane_settings(table).prices
        except ConfigError as error:
            raise ConfigError(f"{source}: {role}.tier: {error}") from None
        if config.budget.dollars is not None and prices is None:
            raise ConfigError(f"{source}: budget.dollars: {uncounted(table.model, give=f'{role}.prices')}")
    for task in config.tasks:
        if task.columns.images and config.base.backend == "local":
            raise ConfigError(
                f"{source}: tasks.columns.images: a local model reads text alone: give in [base] a model behind an "
                f"endpoint that reads images [task {task.name!r}]"
            )
        if task.judge is not None:
            _check_judge(config, task.judge, f"{source}: tasks.metric", f"[task {task.name!r}]")
    for loop, make, name, options in (
        ("inner", inner_strategy, config.inner.strategy, config.inner.options),
        ("outer", outer_strategy, config.outer.strategy, config.outer.options),
    ):
        try:
            make(name, options)
        except UnknownStrategy as error:
            raise ConfigError(f"{source}: {loop}.strategy: {error}") from None


def _check_judge(config: RunConfig, judge: MetricTable, key: str, task: str) -> None:
    if config.judge is None:
        raise ConfigError(f"{key}.judge: is asked of a model of its own: add a [judge] table {task}")
    temperature = model_of(config.judge).sampling.temperature
    if judge.repeats > 1 and temperature == 0:
        raise ConfigError(
            f"{key}.repeats: at temperature 0 a judge says the same again: set judge.temperature = 1 {task}"
        )


def check_optimizable(config: RunConfig, tasks: Sequence[Task], *, source: str) -> None:
    """Raises `ConfigError` where there is nothing to optimize on, or no optimizer model that a strategy needs, or
    where a package is missing that the run is to be shown with."""
    for key, package, extra in _shown_with(config):
        if find_spec(package) is None:
            raise ConfigError(
                f"{source}: {key}: needs the package {package}, which is not installed: pip install 'metaspo[{extra}]'"
            )
    if not any(task.role == "source" for task in tasks):
        raise ConfigError(
            f'{source}: tasks: optimizing needs at least one with role = "source"; '
            "`metaspo evaluate` scores prompts without"
        )
    _check_forms(config, tasks, source)
    _check_train_calls(config, tasks, source)
    _check_wording(config, source=source)
    _check_optimizer(config, tasks, source)


def _check_forms(config: RunConfig, tasks: Sequence[Task], source: str) -> None:
    """What named prompts and numbers need is there."""
    named = [task for task in tasks if task.form]
    if any(task.form and task.form.numbers for task in named) and not is_installed():
        raise ConfigError(f"{source}: tasks.numbers: {INSTALL} [task {named[0].name!r}]")
    if named and config.inner.demonstrations:
        raise ConfigError(
            f"{source}: inner.demonstrations: stand before a question, and the prompts of task {named[0].name!r} are "
            "named: leave one of them out"
        )


def _check_train_calls(config: RunConfig, tasks: Sequence[Task], source: str) -> None:
    if config.train_calls is None:
        return
    if programs := [task.name for task in tasks if task.program]:
        raise ConfigError(
            f"{source}: train_calls: counts one call an answer, and task '{programs[0]}' is answered by a program of "
            "as many as it likes: set iterations, and [budget] calls for a cap"
        )
    if config.train_calls < (first := first_calls(config, tasks)):
        raise ConfigError(
            f"{source}: train_calls: the first prompts alone take {first:,}, one call for each train example "
            "under each of them; give more"
        )


def _check_optimizer(config: RunConfig, tasks: Sequence[Task], source: str) -> None:
    """An optimizer model is there if anything asks one."""
    if config.optimizer is not None or not (config.iterations or config.train_calls):
        return
    if induced_prompts(config) and config.outer.candidates:
        raise ConfigError(
            f'{source}: optimizer: is missing: outer.under = "induced" asks an optimizer model; add an [optimizer] '
            "table, or choose another one"
        )
    trains, forms = train_sizes(config, tasks), [task.form for task in tasks if task.role == "source"]
    work = proposing(config, trains, seen=[1] * len(trains), forms=forms)
    for loop, table, asked in (("inner", config.inner, work["inner"]), ("outer", config.outer, work["outer"])):
        if asked.optimizer:
            raise ConfigError(
                f"{source}: optimizer: is missing: the {loop} loop's strategy '{table.strategy}' asks an optimizer "
                'model; add an [optimizer] table, or choose strategy = "embedded"'
            )


def _check_wording(config: RunConfig, *, source: str) -> None:
    """Raises `ConfigError` for a first system prompt that does not keep to what is asked of every one, and where it is
    not known how that is measured."""
    if not config.searches_systems:
        return
    if config.outer.max_prompt_tokens is not None:
        check_tokenizer(config.base, source=source)
    if fault := config.outer.without_lengths.fault(config.system_prompt):
        raise ConfigError(
            f"{source}: system_prompt: [outer] says what every system prompt must keep to, the first one too: {fault}"
        )
    for number, prompt in enumerate(config.system_prompts, start=1):
        if fault := config.outer.model_copy(update={"max_prompt_tokens": None}).fault(prompt):
            raise ConfigError(
                f"{source}: system_prompts: [outer] says what every system prompt must keep to, and number {number} "
                f"does not: {fault}"
            )


def _shown_with(config: RunConfig) -> Iterator[tuple[str, str, str]]:
    """Keys that are set, with the package that each needs and the extra that brings it."""
    yield from ((f"track.{key}", package, key) for key, package in TRACKERS.items() if getattr(config.track, key))
    if config.telemetry.otel:
        yield "telemetry.otel", "opentelemetry", "otel"
