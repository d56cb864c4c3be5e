"""What a comparison refuses before anything is asked: nothing would be seen of it, or something is missing for it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from metaspo.engine.config.calls import inner_proposer
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.domains import given_user_prompts
from metaspo.engine.errors import ConfigError
from metaspo.engine.runs.prepare import Prepared
from metaspo.engine.strategies import RoundSize
from metaspo.engine.studies.grid_config import GridConfig
from metaspo.engine.studies.methods import Method
from metaspo.engine.tasks import Task


class UnseenMethod(ConfigError):
    """A method of whose work nothing would be seen in a comparison: its name is `method`."""

    def __init__(self, message: str, *, method: str) -> None:
        super().__init__(message)
        self.method = method


def check_fixed(methods: Sequence[Method]) -> None:
    """Raises `ConfigError` where two methods are the same prompt."""
    prompts: dict[str, str] = {}
    for each in methods:
        same = prompts.setdefault(each.fixed, each.name) if each.fixed and not each.changes else each.name
        if same != each.name:
            raise ConfigError(
                f"method '{each.name}': is the very prompt of '{same}', and could not differ from it; leave one out"
            )


def check_searching(runs: Iterable[tuple[Method, Prepared]]) -> None:
    """Raises `ConfigError` where two methods, of one seed and domain, are the same run."""
    names: dict[object, str] = {}
    for each, prepared in runs:
        if each.fixed or each.drawn:  # other seeds may draw other tasks
            continue
        tasks = tuple((task.name, task.role) for task in prepared.tasks)
        same = names.setdefault((prepared.config.model_dump_json(exclude={"name"}), tasks), each.name)
        if same != each.name:
            raise ConfigError(
                f"method '{each.name}': is the same run as '{same}', and could not differ from it; leave one out"
            )


def check_writes(variant: Method, prepared: Prepared) -> None:
    """Raises `UnseenMethod` where a method that is no fixed prompt writes none either."""
    config = prepared.config
    inner, outer = config.inner.candidates, config.outer.candidates
    if not variant.fixed and not ((config.iterations or config.train_calls) and (inner or outer)):
        raise UnseenMethod(
            f"{prepared.source}: method '{variant.name}' writes no prompts (iterations = {config.iterations}, "
            f"inner.candidates = {inner}, outer.candidates = {outer}): it could not differ from the first ones; "
            "leave it out",
            method=variant.name,
        )


def check_seen(variant: Method, targets: Sequence[Task], *, source: str) -> None:
    """Raises `UnseenMethod` for one that writes user prompts only, where none could differ from the first ones."""
    without = [task.name for task in targets if not task.train]
    if without:
        raise UnseenMethod(
            f"{source}: tasks: method '{variant.name}' writes user prompts only, and target task '{without[0]}' has no "
            "train examples to write them from: there it could not differ from the first ones; add `train` to it, or "
            "leave the method out",
            method=variant.name,
        )


def check_adapting(config: RunConfig, *, source: str) -> None:
    """Raises `ConfigError` where the config's inner strategy cannot adapt user prompts."""
    strategy = inner_proposer(config.inner)
    size = RoundSize(level="user", candidates=1, tasks=1, nodes=1, rows=1)
    if config.optimizer is None and strategy.work(size).optimizer:
        raise ConfigError(
            f"{source}: optimizer: is missing: adapting by the inner strategy '{config.inner.strategy}' asks one"
        )


def check_targets(config: GridConfig, prepared: Prepared) -> None:
    """Raises `ConfigError` where target tasks lack what generalizing or adapting needs, before anything is asked."""
    inducing = config.generalize is not None and not config.generalize.given
    if not inducing and config.adapt is None:
        return
    if inducing and prepared.config.optimizer is None:
        raise ConfigError(f"{prepared.source}: optimizer: is missing: user prompts are induced by an optimizer model")
    targets = [task for task in prepared.tasks if task.role == "target"]
    if not targets:
        raise ConfigError(f"{prepared.source}: tasks: there is no target task to generalize or adapt to")
    for task in targets:
        if not task.train:
            raise ConfigError(
                f"{prepared.source}: tasks: target task '{task.name}' has no train examples, which generalizing and "
                "adapting start from; add `train`, or give user prompts (generalize.given)"
            )


def check_given(folder: Path, runs: Iterable[Prepared]) -> None:
    """Raises `TaskError` where a target task has no usable user prompts."""
    for name in dict.fromkeys(task.name for run in runs for task in run.tasks if task.role == "target"):
        given_user_prompts(folder, name)


def check_judges(prepared: Prepared) -> None:
    """Raises `ConfigError` where each method's answers would be compared with others: those under its first prompts."""
    for task in prepared.tasks:
        if task.against_first:
            raise ConfigError(
                f'{prepared.source}: tasks.metric.against: "first" means other prompts for each method of a '
                'comparison, so that their scores say nothing beside each other: use "gold", or a scale '
                f"[task '{task.name}']"
            )
