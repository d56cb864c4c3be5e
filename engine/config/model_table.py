"""The table of one model in a config: who answers, where, at which limits and prices."""

import json
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, field_serializer, field_validator, model_validator

from metaspo.backends.chat.format import TokenLimitParameter
from metaspo.backends.http.base_url import parse_base_url
from metaspo.backends.http.endpoint import is_secret_header, variables_in
from metaspo.engine.config.bounds import MAX_COUNT
from metaspo.engine.config.table import Table
from metaspo.engine.config.vllm_table import VllmTable
from metaspo.engine.prompts import Roles
from metaspo.engine.tasks.spec_table import LARGEST, PathText

SET_BY_METASPO = {"max_completion_tokens", "max_tokens", "messages", "model", "n", "stream"}
NEVER_IN_CONFIG = "a key itself never belongs in a config"
GROUP = r"^[A-Za-z0-9._/-]*$"  # names that processes know each other by
OF_EVERY_REQUEST = {"accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"}


def name_of_variable(value: str) -> str:
    """The value itself. Raises `ValueError` if it can be no environment variable's name."""
    if value and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
        raise ValueError(f"must be the NAME of an environment variable; {NEVER_IN_CONFIG}")
    return value


VariableName = Annotated[str, AfterValidator(name_of_variable)]


class PriceTable(Table):
    """Dollars per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="cached part of the prompt; as input if left out"
    )


class EndpointTable(Table):
    """One address of a server; in a config a base URL alone will do."""

    url: str
    model: str = Field(default="", description="its own name for the model, where that is another")
    standby: bool = Field(default=False, description="asked only what no other endpoint takes")
    api_key_env: VariableName = Field(default="", description="as the model's, for this endpoint alone")
    headers: dict[str, str] = Field(default_factory=dict, description="values may hold $NAME, an environment variable")
    ca_file: PathText = Field(default="", description="certificates (PEM) to trust besides the system's; a whole path")
    time_limit: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="seconds for one attempt, if below the model's",
    )

    @field_validator("url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        parse_base_url(value)
        return value

    @field_validator("headers")
    @classmethod
    def _hold_no_secret(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not text.isprintable():
                raise ValueError("must be names and values that HTTP has for headers")
            if name.lower() in OF_EVERY_REQUEST:
                raise ValueError(f"must not hold '{name}': metaspo sets it itself")
            if is_secret_header(name) and not variables_in(text):
                raise ValueError(
                    f"must name an environment variable for '{name}', as in \"$MY_KEY\"; {NEVER_IN_CONFIG}"
                )
        return value

    @field_validator("ca_file")
    @classmethod
    def _is_a_whole_path(cls, value: str) -> str:
        if value and not value.startswith(("/", "~")) and not re.match(r"[A-Za-z]:[\\/]", value):
            raise ValueError("must be a whole path: endpoints are the same from every folder")
        return value

    @field_serializer("headers", when_used="json")
    def _without_values(self, headers: dict[str, str]) -> dict[str, str]:
        return {name: text if variables_in(text) else "(not shown)" for name, text in headers.items()}


ASKED_OTHERWISE: Final = {
    "local": "metaspo starts its server",
    "vllm": "metaspo starts its server",
    "gateway": "the gateway that a program gives to metaspo.optimize is asked",
}
"""Backends that are not reached at endpoints, and why."""


class ModelTable(Table):
    """One model and how to reach it: the `[base]`, `[optimizer]` and `[judge]` tables."""

    backend: Literal["openai-compatible", "openai", "local", "vllm", "gateway"] = "openai-compatible"
    model: str = Field(min_length=1, description="the name the server knows, or a local model's name or path")
    endpoints: tuple[EndpointTable, ...] = Field(
        default=(), description="base URLs, or tables with a url and headers; several are replicas of one model"
    )
    api_key_env: VariableName = Field(default="", description="name of the environment variable that holds the key")
    revision: str = Field(default="", description="tells apart different weights under one model name")
    temperature: Annotated[float, Field(ge=0, le=2)] | Literal["none"] | None = Field(
        default=None, description='"none" for a model that takes none'
    )
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int = Field(default=1024, ge=1, le=10 * MAX_COUNT)
    token_limit_parameter: TokenLimitParameter | None = Field(
        default=None, description="the name under which the server takes max_tokens, if it is not the usual one"
    )
    roles: Roles | None = Field(
        default=None, description="\"merged\" for a model without a system role; the base model's is the run's"
    )
    stop: tuple[str, ...] = ()
    extra: dict[str, Any] = Field(default_factory=dict, description="further fields of the request body")
    concurrency: Annotated[int, Field(ge=1, le=MAX_COUNT)] | Literal["auto"] = "auto"
    tier: int | None = Field(
        default=None, ge=0, le=1_000, description="usage tier: takes the limits from the model's facts"
    )
    requests_per_minute: int | None = Field(default=None, ge=1, le=LARGEST)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=LARGEST)
    requests_per_day: int | None = Field(default=None, ge=1, le=LARGEST)
    tokens_per_day: int | None = Field(default=None, ge=1, le=LARGEST)
    limit_group: str = Field(
        default="", pattern=GROUP, description="processes that name the same one keep the limits a minute together"
    )
    time_limit: float = Field(default=600, gt=0, allow_inf_nan=False, description="seconds for one attempt")
    attempts: int = Field(default=8, ge=1, le=MAX_COUNT)
    patience: float = Field(default=900, gt=0, allow_inf_nan=False, description="seconds to wait while nothing answers")
    first_patience: float = Field(
        default=15, gt=0, allow_inf_nan=False, description="the same for a server that has never answered"
    )
    prices: PriceTable | None = None
    tokenizer: PathText = Field(
        default="", description="(base) its tokenizer.json, or a model on Hugging Face whose files are on this machine"
    )
    context: int | None = Field(
        default=None, ge=256, le=10 * MAX_COUNT, description="context of a local model, in tokens"
    )
    threads: int | None = Field(default=None, ge=1, le=1_000, description="threads of a local model")
    vllm: VllmTable = Field(default=VllmTable(), description='how it is started, with backend = "vllm"')

    @field_validator("extra")
    @classmethod
    def _leaves_ours_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        ours = sorted(SET_BY_METASPO & value.keys())
        if ours:
            raise ValueError(f"must not hold '{ours[0]}': metaspo sets it itself, and counts on it")
        try:
            json.dumps(value, allow_nan=False, default=str)
        except ValueError:
            raise ValueError("must not hold nan or inf: JSON has no such numbers, and null would be sent") from None
        return value

    @field_validator("endpoints", mode="before")
    @classmethod
    def _are_tables(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return [{"url": endpoint} if isinstance(endpoint, str) else endpoint for endpoint in value]
        return value

    @model_validator(mode="after")
    def _endpoints_where_needed(self) -> Self:
        if self.backend == "openai-compatible" and not self.endpoints:
            raise ValueError('needs endpoints, e.g. endpoints = ["http://127.0.0.1:8000/v1"]')
        if self.backend in ASKED_OTHERWISE and self.endpoints:
            raise ValueError(f'backend = "{self.backend}" takes no endpoints: {ASKED_OTHERWISE[self.backend]}')
        if self.backend != "vllm" and self.vllm != VllmTable():
            raise ValueError('the table vllm says how metaspo starts vLLM: it goes with backend = "vllm"')
        if self.endpoints and all(endpoint.standby for endpoint in self.endpoints):
            raise ValueError("every endpoint has standby = true: leave it out of those that are asked first")
        if longer := [each for each in self.endpoints if (each.time_limit or 0) > self.time_limit]:
            raise ValueError(
                f"an endpoint has time_limit = {longer[0].time_limit:g}, and the model {self.time_limit:g}: "
                "an endpoint's is for a shorter one; give the model the longest"
            )
        return self
