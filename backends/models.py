"""What is known of hosted models: prices, limits, parameters. Data, in `models.toml` and a user's own file."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metaspo.backends.base import Usage
from metaspo.backends.chat_format import TokenLimitParameter

_Price = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(gt=0)]
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class ModelFactsError(ValueError):
    """A file of model facts cannot be used; `str()` names the file and the key."""


class TierLimits(BaseModel):
    """The provider's limits of one usage tier; None where there is none or it is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    requests_per_minute: _Count | None = None
    requests_per_day: _Count | None = None
    tokens_per_minute: _Count | None = None


class ModelFacts(BaseModel):
    """One model.

    Attributes:
        input_price, cached_input_price, output_price: dollars per million tokens; the cached price defaults to the
            input price.
        cache_write_price: dollars per million tokens that the provider writes to its prompt cache, if it charges them.
        context: the longest prompt plus answer, in tokens.
        max_output: the longest answer, in tokens.
        token_limit_parameter: the name under which the model takes the bound of its answer.
        temperature: whether a temperature may be set.
        shutdown: the day the provider switches it off.
        successor: the model the provider names as its replacement.
        extra: body fields sent with every request that does not set them itself.
        limits: by usage tier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    input_price: _Price
    output_price: _Price
    token_limit_parameter: TokenLimitParameter
    cached_input_price: _Price | None = None
    cache_write_price: _Price | None = None
    context: _Count | None = None
    max_output: _Count | None = None
    temperature: bool = True
    shutdown: date | None = None
    successor: str | None = None
    extra: Mapping[str, Any] = Field(default_factory=dict)
    limits: Mapping[int, TierLimits] = Field(default_factory=dict)

    def cost(self, usage: Usage) -> float:
        """Dollars for one call, cache writes left aside."""
        cached_price = self.input_price if self.cached_input_price is None else self.cached_input_price
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        dollars = (usage.prompt_tokens - cached) * self.input_price + cached * cached_price
        return (dollars + usage.completion_tokens * self.output_price) / 1e6


def load_models(extra: Path | None = None) -> Mapping[str, ModelFacts]:
    """The facts shipped with metaspo by model name, with those of the file `extra` added and laid over them.

    Raises `ModelFactsError`.
    """
    tables = _shipped_tables()
    if extra is None:
        return _validate(tables, "models.toml")
    merged = {name: dict(table) for name, table in tables.items()}
    for name, table in _read_tables(_read(extra), str(extra)).items():
        merged.setdefault(name, {}).update(table)
    return _validate(merged, str(extra))


def model_facts(name: str, *, models: Mapping[str, ModelFacts] | None = None) -> ModelFacts | None:
    """The facts of a model or of the family of a dated snapshot, None if nothing is known of it.

    `models` is what `load_models` gave; by default only what is shipped.
    """
    shipped = _shipped_models() if models is None else models
    return shipped.get(name) or shipped.get(_SNAPSHOT.sub("", name))


@cache
def _shipped_models() -> Mapping[str, ModelFacts]:
    return load_models()


def _shipped_tables() -> dict[str, dict[str, Any]]:
    text = resources.files("metaspo.backends").joinpath("models.toml").read_text(encoding="utf-8")
    return _read_tables(text, "models.toml")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFactsError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ModelFactsError(f"{path} is not UTF-8 text.") from error


def _read_tables(text: str, where: str) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelFactsError(f"{where} is not TOML: {error}.") from error
    for key in document.keys() - {"models"}:
        raise ModelFactsError(f"{where}: unknown key {key!r}; models stand in tables named [models.NAME].")
    tables = document.get("models", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ModelFactsError(f"{where}: models stand in tables named [models.NAME].")
    return tables


def _validate(tables: Mapping[str, Mapping[str, Any]], where: str) -> Mapping[str, ModelFacts]:
    models = {}
    for name, table in tables.items():
        try:
            models[name] = ModelFacts.model_validate({"name": name, **table})
        except ValidationError as error:
            raise ModelFactsError(f"{where}: {_first_problem(name, error)}.") from error
    return models


def _first_problem(name: str, error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(["models", name, *(str(part) for part in problem["loc"])])
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
    fields = ModelFacts if len(problem["loc"]) == 1 else TierLimits
    near = difflib.get_close_matches(str(problem["loc"][-1]), fields.model_fields, n=1)
    return f"{key}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
