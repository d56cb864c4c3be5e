"""What is known of hosted models: prices, limits, parameters. Data, in `models.toml`."""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from metaspo.backends.base import Usage
from metaspo.backends.chat.format import TokenLimitParameter
from metaspo.backends.late_patterns import late_pattern

_Price = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(gt=0)]
_SNAPSHOT = late_pattern(r"-\d{4}-\d{2}-\d{2}$")


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
        context: the longest prompt plus answer, in tokens.
        token_limit_parameter: the name under which the model takes the bound of its answer.
        temperature: whether a temperature may be set.
        shutdown: the day the provider switches it off.
        extra: body fields sent with every request that does not set them itself.
        limits: by usage tier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    input_price: _Price
    output_price: _Price
    token_limit_parameter: TokenLimitParameter
    cached_input_price: _Price | None = None
    context: _Count | None = None
    temperature: bool = True
    shutdown: date | None = None
    extra: Mapping[str, Any] = Field(default_factory=dict)
    limits: Mapping[int, TierLimits] = Field(default_factory=dict)

    def cost(self, usage: Usage) -> float:
        """Dollars for one call, cache writes left aside."""
        cached_price = self.input_price if self.cached_input_price is None else self.cached_input_price
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        dollars = (usage.prompt_tokens - cached) * self.input_price + cached * cached_price
        return (dollars + usage.completion_tokens * self.output_price) / 1e6


def model_facts(name: str) -> ModelFacts | None:
    """The facts of a model or of the family of a dated snapshot, None if nothing is known of it."""
    models = _models()
    return models.get(name) or models.get(_SNAPSHOT.sub("", name))


@cache
def _models() -> Mapping[str, ModelFacts]:
    tables = tomllib.loads(resources.files("metaspo.backends").joinpath("models.toml").read_text(encoding="utf-8"))
    return {name: ModelFacts.model_validate({"name": name, **table}) for name, table in tables["models"].items()}
