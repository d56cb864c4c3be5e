"""Model facts: what is shipped, and what a call costs by it."""

from datetime import date

import pytest

from metaspo.backends import ModelFacts, Usage, model_facts


def test_a_dated_snapshot_has_the_facts_of_its_family() -> None:
    """And nothing else that merely begins alike."""
    family = model_facts("gpt-4o-mini")
    assert family is not None
    assert model_facts("gpt-4o-mini-2024-07-18") is family
    for name in ("gpt-4o-mini-audio-preview", "gpt-4o", "gpt-4o-mini-", "gpt-4o-mini-2024", ""):
        assert model_facts(name) is None


def test_what_comes_after_the_default_optimizer_is_known() -> None:
    """It is switched off in January 2027: going over must be a change of one line."""
    mini = model_facts("gpt-4o-mini")
    assert mini is not None
    assert mini.shutdown == date(2027, 1, 14)
    successor = model_facts("gpt-6-luna")
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
