"""What `metaspo serve` is told: models, where it listens, who may ask and spend how much."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from metaspo.backends import DEFAULT_MODEL, Progress
from metaspo.engine.config.lanes import make_lane
from metaspo.engine.config.load import load_config, validated
from metaspo.engine.config.model_table import ModelTable, VariableName
from metaspo.engine.config.models import lane_settings, uncounted, weights_of
from metaspo.engine.config.schema import CapsTable, TelemetryTable, require_shared
from metaspo.engine.config.table import CacheText, Table
from metaspo.engine.config.toml import read_toml
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.errors import ConfigError
from metaspo.engine.tasks.spec_table import PathText
from metaspo.scheduling import Budget, Client, Lane

PORT = 8321
_SAID_BY_REQUESTS = {"temperature", "top_p", "max_tokens", "stop", "extra", "roles"}


class ServedModel(ModelTable):
    """One model that is served: a run's model table, without what each request says itself."""

    name: str = Field(default="", description="what clients call it; the model's own name if left out")

    @model_validator(mode="after")
    def _says_nothing_of_requests(self) -> Self:
        said = sorted(_SAID_BY_REQUESTS & self.model_fields_set)
        if said:
            raise ValueError(f"must not hold '{said[0]}': each request says that itself")
        return self

    @property
    def public_name(self) -> str:
        """What clients call it."""
        return self.name or self.model


class KeyTable(Table):
    """One who may ask: an account of its own, with caps of its own."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    key_env: VariableName = Field(min_length=1, description="name of the environment variable that holds the key")
    budget: CapsTable = CapsTable()


class ServeConfig(Table):
    """A whole server."""

    models: tuple[ServedModel, ...] = Field(min_length=1)
    keys: tuple[KeyTable, ...] = Field(default=(), description="who may ask; everybody on this machine if left out")
    host: str = "127.0.0.1"
    port: int = Field(default=PORT, ge=0, le=65535, description="0 for any that is free")
    hosts: tuple[str, ...] = Field(default=(), description="names besides the loopback's under which clients come")
    cache: CacheText = Field(
        default=".metaspo/cache", description='folder or URL of the cache; "" keeps it in memory only'
    )
    spent: PathText = Field(default=".metaspo/serve", description="folder in which the accounts' spending is kept")
    telemetry: TelemetryTable = TelemetryTable()
    drain: float = Field(default=60.0, ge=0, description="seconds that requests get to end once the server is told to")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for what, names in (
            ("models", [model.public_name for model in self.models]),
            ("keys", [key.name for key in self.keys]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two of the {what} are named '{twice[0]}'; give each a name of its own")
        require_shared(self.models, [key.budget for key in self.keys], cache=self.cache)
        if not self.keys and not self.is_loopback:
            raise ValueError(
                f"whoever reaches {self.host} could spend: add [[keys]] with a name and a key_env, or leave host out"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load_serve_config(path: Path, *, overrides: Mapping[str, Any]) -> ServeConfig:
    """Read a server's config, or take the models and the cache of a run's; `overrides` win. Raises `ConfigError`."""
    raw = read_toml(path)
    if "base" in raw:
        raw = _of_run(path)
    config = validated(ServeConfig, {**raw, **overrides}, source=str(path))
    _check_prices(config, source=str(path))
    return config


def _check_prices(config: ServeConfig, *, source: str) -> None:
    """Raises `ConfigError` for a cap in dollars against which a model's calls could not count."""
    capped = [key.name for key in config.keys if key.budget.dollars is not None]
    for model in config.models if capped else ():
        if lane_settings(model).prices is None:
            why = uncounted(model.public_name, give="it prices")
            raise ConfigError(f"{source}: budget.dollars of the key '{capped[0]}': {why}")


def embedded_config(*, overrides: Mapping[str, Any]) -> ServeConfig:
    """The embedded model, for who has neither a server nor a key. Raises `ConfigError`."""
    raw = {"models": [{"backend": "local", "model": DEFAULT_MODEL}], **overrides}
    return validated(ServeConfig, raw, source="metaspo serve")


def _of_run(path: Path) -> dict[str, Any]:
    config = load_config(path)
    models = [table.model_dump(exclude=_SAID_BY_REQUESTS, exclude_unset=True) for table in config.models.values()]
    served = [model for i, model in enumerate(models) if model not in models[:i]]
    return {"models": served, "cache": config.cache, "telemetry": config.telemetry}


def make_lanes(
    config: ServeConfig,
    *,
    environment: Mapping[str, str],
    progress: Progress | None = None,
    folder: Path = Path(),
) -> dict[str, Lane]:
    """A lane for each model, by the name that clients use. Raises `ConfigError` for a missing key.

    What a vLLM that is started here says goes where the accounts' spending does, in `folder` if that is relative.
    """
    logs = folder / Path(config.spent).expanduser()
    return {
        model.public_name: make_lane(model.public_name, model, environment=environment, progress=progress, logs=logs)
        for model in config.models
    }


def revision_of(model: ServedModel) -> str:
    """What tells apart different weights under its name."""
    return model.revision or weights_of(model)


def open_client(config: str | Path, *, run: str = "", budget: Budget | None = None) -> Client:
    """A `Client` with the models and the cache of a config, a server's or a run's.

    Requests name a model of it; a relative cache is one of the current folder, as for every command. Raises
    `ConfigError`, and `StoreError` for a cache that cannot be used.
    """
    path = Path(config)
    read = load_serve_config(path, overrides={})
    environment = environment_with_dotenv(path.parent, Path())
    lanes = make_lanes(read, environment=environment)
    return Client(lanes.values(), cache=read.cache, run=run, budget=budget or Budget())
