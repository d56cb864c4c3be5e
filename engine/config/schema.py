"""The config of a run: what a TOML file may say, with the paper's defaults.

Defaults of counts are MetaSPO's (arXiv 2505.09666 and its code): 3 iterations; inner loop 3 candidates from 3 failures,
3 kept; outer loop 9 candidates from 2 failures per task; seed 42.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import orjson
from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from metaspo.backends.http.base_url import holds_key
from metaspo.cache import holds_password, is_server
from metaspo.engine.config.bounds import LONGEST_NAME, MAX_CALLS, MAX_COUNT
from metaspo.engine.config.model_table import GROUP, ModelTable
from metaspo.engine.config.presets import count_as_unsaid, planned, with_planned
from metaspo.engine.config.table import CacheText, Table
from metaspo.engine.config.wording import Wording
from metaspo.engine.errors import PromptError
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT, Roles, check_system_prompt
from metaspo.engine.tasks import TaskSpec
from metaspo.engine.tasks.spec_table import LARGEST, PathText
from metaspo.scheduling import Budget

ROLES = ("base", "optimizer", "judge")  # of models: each a table of a config
Under = Literal["kept", "first", "induced", "mixed"]
GATE = "examples of each task on which a candidate must beat its parent before it is scored on the rest; 0: none"
DOUBLES = "who passes the gate meets others of twice as many examples each, and at each it may be as good as its parent"


class InnerTable(Table):
    """The inner loop: user prompts of each source task."""

    strategy: str = "metaspo"
    options: dict[str, Any] = Field(default_factory=dict, description="the strategy's own settings")
    candidates: int = Field(default=3, ge=0, le=10_000, description="0 switches the inner loop off")
    failures: int = Field(default=3, ge=1, le=10_000, description="failures shown per candidate")
    keep: int = Field(default=3, ge=1, le=1_000, description="user prompts kept per task")
    demonstrations: int = Field(
        default=0, ge=0, le=100, description="right answers shown in one candidate of each round; 0: none is shown any"
    )
    gate: int = Field(default=0, ge=0, le=MAX_COUNT, description=GATE)
    gate_doubles: bool = Field(default=False, description=DOUBLES)


class OuterTable(Wording):
    """The outer loop: the system prompt."""

    strategy: str = "metaspo"
    options: dict[str, Any] = Field(default_factory=dict, description="the strategy's own settings")
    candidates: int = Field(default=9, ge=0, le=10_000, description="0 switches the outer loop off")
    failures: int = Field(default=2, ge=1, le=10_000, description="failures of each task shown per candidate")
    gate: int = Field(default=0, ge=0, le=MAX_COUNT, description=GATE)
    gate_doubles: bool = Field(default=False, description=DOUBLES)
    under: Under = Field(
        default="kept", description="which user prompts of a task candidates are scored under, and failures drawn"
    )
    keep: int = Field(
        default=1, ge=1, le=1_000, description="system prompts kept, the best first; candidates start from them in turn"
    )
    shared: bool = Field(
        default=False,
        description="a better system prompt replaces the present one only if more than one task has a part in its gain",
    )
    shared_margin: float = Field(
        default=0.0, ge=0, le=100, description="points by which a gain has to be shared, where `shared` asks for it"
    )
    first_passes: int = Field(
        default=1,
        ge=1,
        le=100,
        description="rewritings of a first system prompt before it is scored; not by a search",
    )
    length_penalty: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="points that each 100 characters of a system prompt take off its score where it is compared",
    )
    reserve: bool = Field(
        default=False,
        description="with `train_calls`: inner loops leave the calls of one system prompt that passes, while they can",
    )
    induced: int = Field(
        default=2, ge=1, le=1_000, description='user prompts induced for each task, where under = "induced"'
    )


class TestTable(Table):
    """What is scored on the test splits, before and after."""

    __test__ = False  # not a test class, whatever pytest reads into the name

    source: Literal["kept", "best", "none"] = Field(
        default="kept", description="user prompts of source tasks scored with the final system prompt"
    )
    baseline: bool = Field(default=True, description="also score the first prompts, for the comparison")


def require_shared(models: Iterable[ModelTable], budgets: "Iterable[CapsTable]", *, cache: str) -> None:
    """Raises `ValueError` where something is to be shared with other processes, and there is nothing to share it by."""
    groups = {"limit_group": any(table.limit_group for table in models), "group": any(each.group for each in budgets)}
    for key in (key for key, is_given in groups.items() if is_given):
        if not is_server(cache):
            raise ValueError(f'{key} shares by the server of the cache: set cache = "redis://HOST:PORT", not "{cache}"')


class CapsTable(Table):
    """Caps over all models together."""

    calls: int | None = Field(default=None, ge=1, le=LARGEST)
    tokens: int | None = Field(default=None, ge=1, le=LARGEST)
    dollars: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    group: str = Field(
        default="", pattern=GROUP, description="the caps are over all processes that name the same group"
    )

    @model_validator(mode="after")
    def _group_of_something(self) -> Self:
        if self.group and self.calls is None and self.tokens is None and self.dollars is None:
            raise ValueError(f"the group {self.group!r} has no cap to share: give calls, tokens or dollars")
        return self

    @property
    def caps(self) -> Budget:
        """As accounts have them."""
        return Budget(calls=self.calls, tokens=self.tokens, dollars=self.dollars, group=self.group)


class BudgetTable(CapsTable):
    """Of a command; reaching one stops it cleanly."""

    hours: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of one start, by the clock; every start has them anew"
    )


class TelemetryTable(Table):
    """What of the calls goes to an OpenTelemetry collector; where it is, the variables OTEL_… say."""

    otel: bool = Field(default=False, description="whether calls are exported by OTLP")
    spans: float = Field(default=0.0, ge=0, le=1, description="the share of calls that have a span of their own")


class TrackTable(Table):
    """Where a run is shown besides: tools that keep experiments, each an extra."""

    mlflow: str = Field(default="", description="an MLflow server's address, or its database: sqlite:///FILE")
    experiment: str = Field(default="metaspo", min_length=1, description="MLflow's experiment")
    alias: str = Field(
        default="metaspo", pattern=r"^[A-Za-z0-9_-]+$", description="of the prompts in MLflow's registry"
    )
    wandb: str = Field(default="", description="a project of Weights & Biases")
    tensorboard: PathText = Field(default="", description="folder of TensorBoard's files, relative as `runs` is")

    @field_validator("mlflow")
    @classmethod
    def _without_password(cls, value: str) -> str:
        if holds_password(value) or holds_key(value):
            raise ValueError(
                "a config is copied into each run, so leave keys and passwords out: set MLFLOW_TRACKING_TOKEN, or "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return value


class RunConfig(Table):
    """A whole run. `result = f(config, data, seed, the models' answers)`."""

    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$", min_length=1, max_length=LONGEST_NAME)
    preset: Literal["metaspo", "metaspo+"] = Field(default="metaspo", description="the shape of what is not said here")
    seed: int = Field(default=42, ge=-LARGEST, le=LARGEST)
    iterations: int = Field(default=3, ge=0, le=MAX_COUNT)
    ties: Literal["shorter", "earlier"] = Field(
        default="shorter", description="which of two prompts of one score is kept: the shorter one, or the earlier"
    )
    system_prompt: str = DEFAULT_SYSTEM_PROMPT
    system_prompts: tuple[str, ...] = Field(
        default=(), description="further first system prompts; the best of all is where the search starts"
    )
    start: str = Field(default="", description="a finished run whose prompts are the first ones")
    roles: Roles = "separate"
    early_rejection: bool = Field(
        default=True, description="stop scoring a candidate once it cannot be selected any more; changes no selection"
    )
    racing: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="also stop on statistical evidence: how often at most a round may select otherwise for it",
    )
    rows: int | None = Field(
        default=None,
        ge=1,
        le=MAX_COUNT,
        description="train examples of each source task that the loops look at; else all",
    )
    train_calls: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CALLS,
        description="base calls on train splits: iterations go on until no further prompt fits within them",
    )
    stop_below: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="end the loops once the odds that another iteration brings a gain (1 in m + 2 after m in a row "
        "without one) are below this",
    )
    redraws: int = Field(default=3, ge=0, le=1_000, description="further draws of a malformed proposal")
    base: ModelTable
    optimizer: ModelTable | None = None
    judge: ModelTable | None = Field(default=None, description="whom judges, and graders of your own, ask")
    inner: InnerTable = InnerTable()
    outer: OuterTable = OuterTable()
    test: TestTable = TestTable()
    budget: BudgetTable = BudgetTable()
    telemetry: TelemetryTable = TelemetryTable()
    track: TrackTable = TrackTable()
    cache: CacheText = Field(
        default=".metaspo/cache", description='folder or URL of the cache; "" keeps it in memory only'
    )
    cache_failure: Literal["stop", "continue"] = Field(
        default="stop", description="when the cache cannot be used: stop the run, or go on and keep answers in memory"
    )
    runs: PathText = Field(default=".metaspo/runs", description="folder that run directories are made in")
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)

    @property
    def models(self) -> dict[str, ModelTable]:
        """The tables of its models, by role."""
        return {role: table for role in ROLES if (table := getattr(self, role)) is not None}

    @property
    def searches_systems(self) -> bool:
        """Whether a system prompt is chosen at all: by an outer loop, or among several first ones."""
        return bool(self.system_prompts or (self.outer.candidates and (self.iterations or self.train_calls)))

    @model_validator(mode="wrap")
    @classmethod
    def _shaped(cls, raw: object, read: ModelWrapValidatorHandler[Self]) -> Self:
        """With what its preset says where it says nothing itself."""
        if not isinstance(raw, Mapping) or not (plan := planned(raw)):
            return read(raw)
        config = read(with_planned(raw, plan))
        count_as_unsaid(config, plan)
        return config

    @field_validator("system_prompt")
    @classmethod
    def _usable(cls, value: str) -> str:
        try:
            return check_system_prompt(value)
        except PromptError as error:
            raise ValueError(str(error)) from error

    @field_validator("system_prompts")
    @classmethod
    def _each_usable(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._usable(value) for value in values)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [task.name for task in self.tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two tasks are named '{twice[0]}'; give each a name of its own")
        if len({self.system_prompt, *self.system_prompts}) <= len(self.system_prompts):
            raise ValueError("system_prompts are further ones beside system_prompt: a prompt is there twice")
        if self.racing and (self.inner.gate or self.outer.gate):
            raise ValueError("racing and a gate are two ways to send candidates away early: leave out one of them")
        for name in ("inner", "outer"):
            table: InnerTable | OuterTable = getattr(self, name)
            if table.gate_doubles and not table.gate:
                raise ValueError(f"{name}.gate_doubles says how a gate goes on: there is no {name}.gate to begin with")
        if self.outer.reserve and self.train_calls is None:
            raise ValueError("outer.reserve says what inner loops leave of train_calls: it wants a number of these")
        if self.outer.keep > 1 and self.outer.under in ("kept", "mixed"):
            raise ValueError(
                f'outer.keep = {self.outer.keep} wants outer.under = "first" or "induced": with "{self.outer.under}" '
                "user prompts change from round to round, and with them the scores of what is kept"
            )
        if self.outer.shared and self.outer.under in ("kept", "mixed"):
            raise ValueError(
                f'outer.shared wants outer.under = "first" or "induced": with "{self.outer.under}" user prompts change '
                "from round to round, and what tasks have gained since the first system prompt is theirs, too"
            )
        if self.outer.shared_margin and not self.outer.shared:
            raise ValueError("outer.shared_margin says how much a gain has to be shared: it wants outer.shared = true")
        require_shared(self.models.values(), [self.budget], cache=self.cache)
        try:
            orjson.dumps(self.model_dump(mode="json"))
        except TypeError as error:  # in `options` or `extra`, which hold what they like
            raise ValueError(f"holds what cannot be written down: {error}") from None
        return self
