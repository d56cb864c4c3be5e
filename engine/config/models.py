"""From the `[base]` and `[optimizer]` tables to lanes: which backends, which limits, which prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import orjson

from metaspo.backends import (
    Backend,
    HttpEndpoint,
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
from metaspo.backends.base_url import parse_base_url
from metaspo.backends.gpus import gpus_there, share_out
from metaspo.backends.http_endpoint import fill_in, is_secret_header, proxy_for
from metaspo.backends.openai_api import OPENAI
from metaspo.engine.config.schema import EndpointTable, ModelTable
from metaspo.engine.errors import ConfigError
from metaspo.engine.prompts import Roles, merged
from metaspo.engine.tasks import Task
from metaspo.scheduling import Lane, LaneSettings, Prices

BASE_TEMPERATURE = 0.0
OPTIMIZER_TEMPERATURE = 1.0
LOCAL_PARALLEL = 4
LOCAL_CONTEXT = 4096  # tokens of prompt plus answer
LIMITS = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of a run's models: the lane its requests go through, how they are made, and what they cost where known."""

    lane: str
    name: str
    revision: str
    sampling: Sampling
    roles: Roles = "separate"
    prices: Prices | None = None
    response_format: str = ""

    def of_task(self, task: Task) -> "Model":
        """The same as it answers a task's examples."""
        if task.max_tokens is None and not task.response_format:
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
        concurrency=_local_parallel(table) if table.backend == "local" else table.concurrency,
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


def model_of(table: ModelTable, *, lane: str, temperature: float | None) -> Model:
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
    )


def weights_of(table: ModelTable) -> str:
    """What tells a local model's weights apart; "" for a server's."""
    return local_revision(table.model) if table.backend == "local" and not table.revision else ""


def context_of(table: ModelTable) -> int:
    """Tokens of prompt plus answer that a local model takes; 0 for a server's, which is not ours to set."""
    return table.context or LOCAL_CONTEXT if table.backend == "local" else 0


def make_lane(
    name: str,
    table: ModelTable,
    *,
    environment: Mapping[str, str],
    progress: Progress | None = None,
    logs: Path | None = None,
) -> Lane:
    """A lane with its backends, as `make_backends` has them."""
    backends = make_backends(table, environment=environment, progress=progress, logs=logs)
    return Lane(name, backends, lane_settings(table))


def make_backends(
    table: ModelTable,
    *,
    environment: Mapping[str, str],
    progress: Progress | None = None,
    logs: Path | None = None,
) -> Sequence[Backend]:
    """A model's endpoints; nothing is started or sent yet. Raises `ConfigError` for a missing key, or missing GPUs.

    `logs`: the folder for what a vLLM that is started here says; the user's own if left out.
    """
    if table.backend == "vllm":
        return _vllm(table, environment, logs)
    if table.backend == "local":
        return [
            LocalModel(
                table.model,
                threads=table.threads,
                parallel=_local_parallel(table),
                context=context_of(table),
                progress=progress,
            )
        ]
    parameter = table.token_limit_parameter
    if table.backend == "openai":
        tables = table.endpoints or (EndpointTable(url=_openai_url(environment)),)
        return [OpenAIAPI(base_url=_endpoint(each, table, environment), limit_parameter=parameter) for each in tables]
    return [
        OpenAICompatible(_endpoint(each, table, environment), limit_parameter=parameter or "max_tokens")
        for each in table.endpoints
    ]


def _vllm(table: ModelTable, environment: Mapping[str, str], logs: Path | None) -> Sequence[Backend]:
    """A replica of vLLM for as many GPUs as each is to have. Raises `ConfigError` where there are fewer."""
    from metaspo.backends.vllm import VllmSettings, vllm_replicas

    said = table.vllm
    try:
        shares = share_out(said.gpus or gpus_there(environment), each=said.tensor_parallel)
    except ValueError as error:
        raise ConfigError(f"vLLM for {table.model}: {error}") from None
    settings = VllmSettings(
        model=table.model,
        command=said.command,
        options=said.options,
        tensor_parallel=said.tensor_parallel,
        start_limit=said.start_limit,
    )
    return vllm_replicas(settings, shares[: said.replicas], logs=logs)


def _openai_url(environment: Mapping[str, str]) -> str:
    """OpenAI's own, unless the key in the environment is meant for another. Raises `ConfigError`."""
    url = environment.get("OPENAI_BASE_URL", "").strip() or OPENAI
    try:
        parse_base_url(url)
    except ValueError as error:
        raise ConfigError(f"OPENAI_BASE_URL cannot be used: {error}") from None
    return url


def _endpoint(endpoint: EndpointTable, table: ModelTable, environment: Mapping[str, str]) -> HttpEndpoint:
    """An endpoint with the values of all that it names. Raises `ConfigError`."""
    try:
        headers = {name: fill_in(text, environment) for name, text in endpoint.headers.items()}
    except KeyError as missing:
        raise ConfigError(_not_set(str(missing.args[0]), f"a header for {table.model}")) from None
    try:
        proxy = proxy_for(endpoint.url, environment)
    except ValueError as error:
        raise ConfigError(f"{table.model} cannot be reached through the proxy in the environment: {error}") from None
    return HttpEndpoint(
        url=endpoint.url,
        api_key=_api_key(endpoint, table, environment),
        headers=headers,
        ca_file=_ca_file(endpoint, environment),
        proxy=proxy,
        time_limit=endpoint.time_limit or inf,
    )


def _ca_file(endpoint: EndpointTable, environment: Mapping[str, str]) -> str:
    """The file of certificates to trust, as the table or a `.env` file names it; "" for none."""
    if endpoint.ca_file:
        return str(Path(endpoint.ca_file).expanduser())
    file = environment.get("SSL_CERT_FILE", "")
    return file if Path(file).is_file() and endpoint.url.startswith("https:") else ""


def _api_key(endpoint: EndpointTable, table: ModelTable, environment: Mapping[str, str]) -> str:
    """The key of an endpoint, "" for none. Raises `ConfigError` for one that is missing."""
    name = endpoint.api_key_env or table.api_key_env
    if not name and table.backend == "openai" and not any(map(is_secret_header, endpoint.headers)):
        name = "OPENAI_API_KEY"
    key = environment.get(name, "").strip() if name else ""
    if name and not key:
        raise ConfigError(_not_set(name, f"the API key of {table.model}"))
    return key


def _not_set(name: str, what: str) -> str:
    return f"{name} is not set: {what} is read from it; set it in the environment or in .env"


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


def _local_parallel(table: ModelTable) -> int:
    return LOCAL_PARALLEL if table.concurrency == "auto" else table.concurrency
