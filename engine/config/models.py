"""From the `[base]` and `[optimizer]` tables to models: how they are asked, within which limits, at which prices."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from metaspo.backends import Message, ModelFacts, Request, Sampling, local_revision, local_threads, model_facts
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.errors import ConfigError
from metaspo.engine.prompts import Roles, merged
from metaspo.engine.tasks import Task
from metaspo.scheduling import LaneSettings, Prices

BASE_TEMPERATURE = 0.0
OPTIMIZER_TEMPERATURE = 1.0
LOCAL_PARALLEL = (2, 4)  # at least, at most
LOCAL_CONTEXT = 4096  # tokens of prompt plus answer
LIMITS = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of a run's models: the lane its requests go through, how they are made, and what they cost where known.

    Attributes:
        turn: the run's among those that ask at once; what a run of a smaller one asks goes first.
    """

    lane: str
    name: str
    revision: str
    sampling: Sampling
    roles: Roles = "separate"
    prices: Prices | None = None
    response_format: str = ""
    turn: int = 0

    def of_task(self, task: Task) -> "Model":
        """The same as it answers a task's examples."""
        if task.max_tokens is None and not task.response_format:
            return self
        if not task.max_tokens and task.response_format == self.response_format:
            return self
        sampling = replace(self.sampling, max_tokens=task.max_tokens or self.sampling.max_tokens)
        return replace(self, sampling=sampling, response_format=task.response_format)

    def request(self, messages: tuple[Message, ...], *, draw: int = 0) -> Request:
        """A request to this model, without a system role if it has none."""
        if self.roles == "merged":
            messages = merged(messages)
        return Request(
            model=self.name,
            revision=self.revision,
            messages=messages,
            sampling=self.sampling,
            response_format=self.response_format,
            draw=draw,
        )


def lane_settings(table: ModelTable) -> LaneSettings:
    """Limits and prices of a model: what the table says, else what the model's facts say for its tier.

    Raises:
        ConfigError: for a tier that the model's facts do not know.
    """
    facts = model_facts(table.model)
    limits = _tier_limits(table, facts)
    prices = _prices(table, facts)
    starting = table.vllm.start_limit if table.backend == "vllm" else 0.0  # one that died is waited for
    return LaneSettings(
        concurrency=local_parallel(table) if table.backend == "local" else table.concurrency,
        requests_per_minute=table.requests_per_minute or limits.get("requests_per_minute"),
        tokens_per_minute=table.tokens_per_minute or limits.get("tokens_per_minute"),
        requests_per_day=table.requests_per_day or limits.get("requests_per_day"),
        tokens_per_day=table.tokens_per_day or limits.get("tokens_per_day"),
        limit_group=table.limit_group,
        time_limit=table.time_limit,
        attempts=table.attempts,
        patience=max(table.patience, starting),
        first_patience=max(table.first_patience, starting),
        prices=prices,
        billing="tokens" if table.backend == "openai" or (prices and prices.upper_bound(1, 1)) else "time",
    )


def uncounted(model: str, *, give: str) -> str:
    """Why a cap in dollars cannot be kept where a model has no prices, and what to `give` it."""
    return (
        f"what {model} costs is not known, so its calls could not count against the cap: give {give} = "
        "{ input = …, output = … }, in dollars per million tokens (0 for what costs nothing), or cap calls or tokens "
        "instead"
    )


def model_of(
    table: ModelTable, *, lane: str = "", temperature: float | None = BASE_TEMPERATURE, turn: int = 0
) -> Model:
    """How requests to a model are made; `temperature` is used where the table says nothing.

    What the model's facts add (fixed parameters, no temperature) is part of the request, and so of its cache key.
    """
    facts = model_facts(table.model) if table.backend == "openai" else None
    extra = {**(facts.extra if facts else {}), **table.extra}
    if table.temperature == "none" or (facts is not None and not facts.temperature):
        temperature = None  # the model takes none
    elif table.temperature is not None:
        temperature = table.temperature
    return Model(
        lane=lane,
        name=table.model,
        revision=table.revision or weights_of(table),
        sampling=Sampling(
            max_tokens=table.max_tokens,
            temperature=temperature,
            top_p=table.top_p,
            stop=table.stop,
            extra=orjson.dumps(extra, option=orjson.OPT_SORT_KEYS).decode() if extra else "",
        ),
        roles=table.roles or "separate",
        prices=_prices(table, model_facts(table.model)),
        turn=turn,
    )


def weights_of(table: ModelTable) -> str:
    """What tells a local model's weights apart; "" for a server's."""
    return local_revision(table.model) if table.backend == "local" and not table.revision else ""


def context_of(table: ModelTable) -> int:
    """Tokens of prompt plus answer that a local model takes; 0 for a server's, which is not ours to set."""
    return table.context or LOCAL_CONTEXT if table.backend == "local" else 0


def _tier_limits(table: ModelTable, facts: ModelFacts | None) -> Mapping[str, int | None]:
    if table.tier is None:
        return {}
    if facts is None or table.tier not in facts.limits:
        tiers = ", ".join(map(str, sorted(facts.limits))) if facts and facts.limits else "none"
        raise ConfigError(
            f"tier {table.tier} of {table.model} is not known (known: {tiers}); "
            "give requests_per_minute and tokens_per_minute instead"
        )
    limits = facts.limits[table.tier]
    return {name: getattr(limits, name, None) for name in LIMITS}


def _prices(table: ModelTable, facts: ModelFacts | None) -> Prices | None:
    """None where they are not known; a model on this machine costs nothing."""
    if table.backend in ("local", "vllm") and table.prices is None:
        return Prices(input=0.0, cached=0.0, output=0.0)
    if table.prices is not None:
        cached = table.prices.input if table.prices.cached is None else table.prices.cached
        return Prices(input=table.prices.input, cached=cached, output=table.prices.output)
    if table.backend == "openai" and facts is not None:
        cached = facts.input_price if facts.cached_input_price is None else facts.cached_input_price
        return Prices(input=facts.input_price, cached=cached, output=facts.output_price)
    return None


def local_parallel(table: ModelTable) -> int:
    """Requests that a local model answers at once: as many as threads, for more read the same prefix more often."""
    if table.concurrency != "auto":
        return table.concurrency
    least, most = LOCAL_PARALLEL
    return max(least, min(most, table.threads or local_threads()))
