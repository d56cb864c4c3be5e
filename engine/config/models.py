"""From the `[base]` and `[optimizer]` tables to lanes: which backends, which limits, which prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from metaspo.backends import (
    Backend,
    LocalModel,
    Message,
    ModelFacts,
    OpenAIAPI,
    OpenAICompatible,
    Progress,
    Request,
    Sampling,
    local_revision,
    model_facts,
)
from metaspo.engine.config.schema import ModelTable
from metaspo.engine.errors import ConfigError
from metaspo.scheduling import Lane, LaneSettings, Prices

BASE_TEMPERATURE = 0.0
OPTIMIZER_TEMPERATURE = 1.0
LOCAL_PARALLEL = 4
LOCAL_CONTEXT = 4096  # tokens of prompt plus answer
LIMITS = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of a run's models: the lane its requests go through, and how they are made."""

    lane: str
    name: str
    revision: str
    sampling: Sampling

    def request(self, messages: tuple[Message, ...], *, draw: int = 0) -> Request:
        """A request to this model."""
        return Request(model=self.name, revision=self.revision, messages=messages, sampling=self.sampling, draw=draw)


def lane_settings(table: ModelTable) -> LaneSettings:
    """Limits and prices of a model: what the table says, else what the model's facts say for its tier.

    Raises:
        ConfigError: for a tier that the model's facts do not know.
    """
    facts = model_facts(table.model)
    limits = _tier_limits(table, facts)
    prices = _prices(table, facts)
    return LaneSettings(
        concurrency=_local_parallel(table) if table.backend == "local" else table.concurrency,
        requests_per_minute=table.requests_per_minute or limits.get("requests_per_minute"),
        tokens_per_minute=table.tokens_per_minute or limits.get("tokens_per_minute"),
        requests_per_day=table.requests_per_day or limits.get("requests_per_day"),
        tokens_per_day=table.tokens_per_day or limits.get("tokens_per_day"),
        time_limit=table.time_limit,
        attempts=table.attempts,
        patience=table.patience,
        first_patience=table.first_patience,
        prices=prices,
        billing="time" if prices is None and table.backend != "openai" else "tokens",
    )


def model_of(table: ModelTable, *, lane: str, temperature: float | None) -> Model:
    """How requests to a model are made; `temperature` is used where the table says nothing.

    What the model's facts add (fixed parameters, no temperature) is part of the request, and so of its cache key.
    """
    facts = model_facts(table.model) if table.backend == "openai" else None
    extra = {**(facts.extra if facts else {}), **table.extra}
    if facts is not None and not facts.temperature:
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
    )


def weights_of(table: ModelTable) -> str:
    """What tells a local model's weights apart; "" for a server's."""
    return local_revision(table.model) if table.backend == "local" and not table.revision else ""


def make_lane(
    name: str, table: ModelTable, *, environment: Mapping[str, str], progress: Progress | None = None
) -> Lane:
    """A lane with its backends; nothing is started or sent yet. Raises `ConfigError` for a missing key."""
    return Lane(name, _backends(table, environment, progress), lane_settings(table))


def _backends(table: ModelTable, environment: Mapping[str, str], progress: Progress | None) -> Sequence[Backend]:
    if table.backend == "local":
        return [
            LocalModel(
                table.model,
                threads=table.threads,
                parallel=_local_parallel(table),
                context=table.context or LOCAL_CONTEXT,
                progress=progress,
            )
        ]
    key = _api_key(table, environment)
    if table.backend == "openai":
        return [OpenAIAPI(api_key=key, base_url=url) for url in table.endpoints] or [OpenAIAPI(api_key=key)]
    return [OpenAICompatible(endpoint, api_key=key) for endpoint in table.endpoints]


def _api_key(table: ModelTable, environment: Mapping[str, str]) -> str | None:
    name = table.api_key_env or ("OPENAI_API_KEY" if table.backend == "openai" else "")
    if not name:
        return None
    key = environment.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"{name} is not set: the API key of {table.model} is read from it; set it in the environment or in .env"
        )
    return key


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
    if table.prices is not None:
        cached = table.prices.input if table.prices.cached is None else table.prices.cached
        return Prices(input=table.prices.input, cached=cached, output=table.prices.output)
    if table.backend == "openai" and facts is not None:
        cached = facts.input_price if facts.cached_input_price is None else facts.cached_input_price
        return Prices(input=facts.input_price, cached=cached, output=facts.output_price)
    return None


def _local_parallel(table: ModelTable) -> int:
    return LOCAL_PARALLEL if table.concurrency == "auto" else table.concurrency
