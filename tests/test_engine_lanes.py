"""From `[base]` and `[optimizer]` tables to lanes, requests, and gateways that share them."""

from pathlib import Path
from typing import Any

import pytest
from world import make_config

from metaspo import ConfigError, DiskStore, MemoryStore, Message, RunConfig
from metaspo.backends import model_facts
from metaspo.cache import open_store
from metaspo.engine.config.lanes import make_lane
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import lane_settings, local_parallel, model_of
from metaspo.engine.runtime.gateway import LaneNames, name_lanes, open_gateway

URL = "http://127.0.0.1:1/v1"
SERVER: dict[str, Any] = {"model": "m", "endpoints": [URL]}


def table(**changes: object) -> ModelTable:
    return ModelTable.model_validate({**SERVER, **changes})


def test_a_tier_sets_the_limits_and_the_table_wins_over_it() -> None:
    facts = model_facts("gpt-4o-mini")
    assert facts is not None
    limits = facts.limits[1]
    plain = ModelTable(backend="openai", model="gpt-4o-mini", tier=1)
    settings = lane_settings(plain)
    assert settings.requests_per_minute == limits.requests_per_minute
    assert settings.tokens_per_minute == limits.tokens_per_minute
    assert lane_settings(plain.model_copy(update={"requests_per_minute": 7})).requests_per_minute == 7


@pytest.mark.parametrize(
    ("changes", "places"),
    [({"threads": 1}, 2), ({"threads": 2}, 2), ({"threads": 3}, 3), ({"threads": 8}, 4), ({"concurrency": 6}, 6)],
)
def test_a_local_model_answers_no_more_at_once_than_it_has_threads(changes: dict[str, int], places: int) -> None:
    """Each place reads a prefix that it has not seen; with two threads four at once gain nothing by it."""
    local = ModelTable.model_validate({"backend": "local", "model": "smollm2", **changes})
    assert local_parallel(local) == places
    assert lane_settings(local).concurrency == places


def test_an_unknown_tier_says_what_to_give_instead() -> None:
    with pytest.raises(ConfigError, match=r"tier 9 .*requests_per_minute"):
        lane_settings(table(tier=9))


def test_prices_come_from_the_table_then_from_the_facts_and_only_where_somebody_charges() -> None:
    facts = model_facts("gpt-4o-mini")
    assert facts is not None
    known = lane_settings(ModelTable(backend="openai", model="gpt-4o-mini")).prices
    assert known is not None
    assert (known.input, known.output) == (facts.input_price, facts.output_price)
    given = lane_settings(table(prices={"input": 1.0, "output": 2.0})).prices
    assert given is not None
    assert (given.input, given.cached, given.output) == (1.0, 1.0, 2.0)
    assert lane_settings(table(model="gpt-4o-mini")).prices is None


def test_requests_hold_what_the_table_says() -> None:
    model = model_of(
        table(revision="r2", top_p=0.5, stop=["."], extra={"b": 1, "a": 2}, max_tokens=9), lane="base", temperature=0.0
    )
    request = model.request((Message("user", "q"),), draw=3)
    assert (request.model, request.revision, request.draw) == ("m", "r2", 3)
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.stop) == (9, 0.0, 0.5, (".",))
    assert sampling.extra == '{"a":2,"b":1}'


@pytest.mark.parametrize(("given", "used"), [(None, 1.0), (0.0, 0.0), (0.3, 0.3)])
def test_a_temperature_of_the_table_wins_also_when_it_is_0(given: float | None, used: float) -> None:
    assert model_of(table(temperature=given), lane="x", temperature=1.0).sampling.temperature == used


@pytest.mark.parametrize("environment", [{}, {"MY_KEY": ""}, {"MY_KEY": "  "}])
def test_a_key_that_is_missing_or_empty_is_asked_for_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"MY_KEY .*\.env"):
        make_lane("base", table(api_key_env="MY_KEY"), environment=environment)


def test_openais_api_looks_for_its_usual_variable() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        make_lane("base", ModelTable(backend="openai", model="gpt-4o-mini"), environment={})


def test_a_model_of_a_programs_own_gateway_has_no_endpoints_and_is_asked_nowhere_else() -> None:
    own = ModelTable(backend="gateway", model="mine")
    with pytest.raises(ConfigError, match='mine: backend = "gateway" is asked by a program'):
        make_lane("base", own, environment={})
    with pytest.raises(ValueError, match="takes no endpoints: the gateway that a program gives"):
        ModelTable.model_validate({"backend": "gateway", "model": "mine", "endpoints": ["http://127.0.0.1:9/v1"]})


def configs(*pairs: tuple[dict[str, Any], dict[str, Any] | None]) -> list[RunConfig]:
    return [make_config({"base": base, "optimizer": optimizer}) for base, optimizer in pairs]


def test_equal_tables_share_a_lane_and_different_ones_do_not() -> None:
    other = {**SERVER, "model": "n"}
    names, tables = name_lanes(configs((SERVER, other), (SERVER, {**other, "time_limit": 5}), (other, None)))
    assert names[0] == LaneNames("base", "optimizer")
    assert names[1] == LaneNames("base", "optimizer 2")
    assert names[2].base == "optimizer"
    assert set(tables) == {"base", "optimizer", "optimizer 2"}


def test_one_model_in_both_roles_is_one_lane() -> None:
    names, tables = name_lanes(configs((SERVER, SERVER)))
    assert names == [LaneNames("base", "base")]
    assert set(tables) == {"base"}


async def test_runs_that_go_on_together_must_share_a_cache(tmp_path: Path) -> None:
    several = [make_config({"cache": "one"}), make_config({"cache": "two"})]
    with pytest.raises(ConfigError, match="one, two"):
        async with open_gateway(several, environment={}, folder=tmp_path):
            pass


async def test_a_cache_is_a_folder_or_memory_alone(tmp_path: Path) -> None:
    kept, memory = open_store("deep/cache", folder=tmp_path), open_store("", folder=tmp_path)
    assert isinstance(kept, DiskStore)
    assert isinstance(memory, MemoryStore)
    assert (tmp_path / "deep" / "cache").is_dir()
    await kept.aclose()


async def test_opening_a_gateway_calls_nobody(tmp_path: Path) -> None:
    """The address in the config is one where nothing listens."""
    async with open_gateway([make_config()], environment={}, folder=tmp_path) as (gateway, names):
        assert names == [LaneNames()]
        assert gateway.statistics().waiting == 0


def test_tables_that_differ_only_in_how_requests_are_made_share_the_servers_limits() -> None:
    longer = {**SERVER, "max_tokens": 2000, "temperature": 1.0, "extra": {"a": 1}}
    names, tables = name_lanes(configs((SERVER, longer)))
    assert names == [LaneNames("base", "base")]
    assert len(tables) == 1
