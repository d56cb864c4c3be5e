"""From the `[base]` and `[optimizer]` tables to lanes: which backends, at which addresses, with which keys."""

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from metaspo.backends import Backend, HttpEndpoint, OpenAIAPI, OpenAICompatible, Progress
from metaspo.backends.http.base_url import parse_base_url
from metaspo.backends.http.endpoint import fill_in, is_secret_header, is_sendable, proxy_for, variables_in
from metaspo.backends.managed.gpus import gpus_there, share_out
from metaspo.backends.openai_api import OPENAI
from metaspo.engine.config.model_table import EndpointTable, ModelTable
from metaspo.engine.config.models import context_of, lane_settings, local_parallel
from metaspo.engine.errors import ConfigError
from metaspo.scheduling import Lane


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
    standby = [backend for backend, endpoint in zip(backends, table.endpoints, strict=False) if endpoint.standby]
    others = [backend for backend in backends if backend not in standby]
    return Lane(name, others, lane_settings(table), standby=standby)


def make_backends(
    table: ModelTable,
    *,
    environment: Mapping[str, str],
    progress: Progress | None = None,
    logs: Path | None = None,
) -> Sequence[Backend]:
    """A model's endpoints; nothing is started or sent yet. Raises `ConfigError` for a missing key, missing GPUs, or a
    model that a program's own gateway has.

    `logs`: the folder for what a vLLM that is started here says; the user's own if left out.
    """
    if table.backend == "gateway":
        raise ConfigError(
            f'{table.model}: backend = "gateway" is asked by a program that gives metaspo.optimize a gateway; here it '
            'must be a server: set endpoints, and backend = "openai-compatible"'
        )
    if table.backend == "vllm":
        return _vllm(table, environment, logs)
    if table.backend == "local":
        from metaspo.backends import LocalModel  # with what fetches and starts it

        return [
            LocalModel(
                table.model,
                threads=table.threads,
                parallel=local_parallel(table),
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
    from metaspo.backends.managed.vllm import VllmSettings, vllm_replicas

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
    for name, value in headers.items():
        _require_sendable(value, " or ".join(variables_in(endpoint.headers[name])))
    try:
        proxy = proxy_for(endpoint.url, environment)
    except ValueError as error:
        raise ConfigError(f"{table.model} cannot be reached through the proxy in the environment: {error}") from None
    api_key = _api_key(endpoint, table, environment)
    try:
        return HttpEndpoint(
            url=endpoint.url,
            api_key=api_key,
            headers=headers,
            ca_file=_ca_file(endpoint, environment),
            proxy=proxy,
            time_limit=endpoint.time_limit or inf,
            model=endpoint.model,
        )
    except ValueError as error:
        raise ConfigError(f"{table.model} cannot be asked: {error}") from None


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
    _require_sendable(key, name)
    return key


def _require_sendable(value: str, variable: str) -> None:
    """Raises `ConfigError` for what no header can hold, by the name of what it was read from."""
    if variable and not is_sendable(value):
        raise ConfigError(f"{variable} holds a line break or another character that cannot be sent: set it anew")


def _not_set(name: str, what: str) -> str:
    return f"{name} is not set: {what} is read from it; set it in the environment or in .env"
