"""Model facts: what is shipped, what a user's file changes, and how it is told what is wrong with it."""

from datetime import date
from pathlib import Path

import pytest

from metaspo.backends import ModelFacts, ModelFactsError, Usage, load_models, model_facts


def test_a_dated_snapshot_has_the_facts_of_its_family() -> None:
    """And nothing else that merely begins alike."""
    family = model_facts("gpt-4o-mini")
    assert family is not None
    assert model_facts("gpt-4o-mini-2024-07-18") is family
    for name in ("gpt-4o-mini-audio-preview", "gpt-4o", "gpt-4o-mini-", "gpt-4o-mini-2024", ""):
        assert model_facts(name) is None


def test_the_default_optimizer_names_a_successor_that_is_known() -> None:
    """It is switched off in January 2027: going over must be a change of one line."""
    mini = model_facts("gpt-4o-mini")
    assert mini is not None
    assert mini.shutdown == date(2027, 1, 14)
    assert mini.successor is not None
    successor = model_facts(mini.successor)
    assert successor is not None
    assert successor.shutdown is None
    assert mini.limits[1].tokens_per_minute == 200_000
    assert mini.limits[2].requests_per_day is None


def test_cost_counts_cached_tokens_at_their_own_price() -> None:
    """Dollars, from prices per million tokens."""
    facts = ModelFacts(
        name="m", input_price=2, cached_input_price=1, output_price=10, token_limit_parameter="max_tokens"
    )
    assert facts.cost(Usage(1_000_000, 100_000, 400_000)) == pytest.approx(0.6 * 2 + 0.4 * 1 + 0.1 * 10)
    plain = facts.model_copy(update={"cached_input_price": None})
    assert plain.cost(Usage(1_000_000, 0, 400_000)) == pytest.approx(2)


def test_a_users_file_adds_models_and_overrides_single_values(tmp_path: Path) -> None:
    """Everything not said stays as shipped, in the shipped table too."""
    path = tmp_path / "mine.toml"
    path.write_text(
        "[models.gpt-4o-mini]\ninput_price = 9\n"
        '[models.own]\ninput_price = 0\noutput_price = 0\ntoken_limit_parameter = "max_tokens"\n'
    )
    models = load_models(path)
    shipped = load_models()["gpt-4o-mini"]
    assert models["gpt-4o-mini"] == shipped.model_copy(update={"input_price": 9.0})
    assert model_facts("own-2026-01-02", models=models) == models["own"]
    assert model_facts("own") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.gpt-4o-mini]\ninput_prize = 1", ["models.gpt-4o-mini.input_prize", "did you mean 'input_price'"]),
        ("[models.gpt-4o-mini]\ninput_price = -1", ["models.gpt-4o-mini.input_price", "greater than or equal to 0"]),
        ("[models.new]\ninput_price = 1", ["models.new.", "field required"]),
        ('[models.gpt-4o-mini]\ntoken_limit_parameter = "n"', ["token_limit_parameter", "max_completion_tokens"]),
        ("[models.gpt-4o-mini.limits]\n1 = { requests_per_minut = 3 }", ["limits.1.", "'requests_per_minute'"]),
        ("[model.x]\na = 1", ["unknown key 'model'"]),
        ("models = 3", ["[models.NAME]"]),
        ("[models", ["not TOML"]),
    ],
)
def test_an_error_names_the_file_and_the_key(tmp_path: Path, text: str, words: list[str]) -> None:
    """One sentence, and the nearest known key where one is misspelt."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ModelFactsError) as caught:
        load_models(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    """Not a traceback from the depths."""
    latin = tmp_path / "latin.toml"
    latin.write_bytes("# größer".encode("latin-1"))
    with pytest.raises(ModelFactsError, match=r"latin\.toml is not UTF-8 text\.$"):
        load_models(latin)
    with pytest.raises(ModelFactsError, match="cannot be read"):
        load_models(tmp_path / "none.toml")
