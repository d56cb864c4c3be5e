"""Addresses seed everything random: the same place draws the same, different places do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.addresses import DRAWS, candidate_address, draw_at, inner_address, join, outer_address, rng_at
from metaspo.engine.journal.address import Address

TEXT = st.text(min_size=1, max_size=20)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True)
STEPS = st.lists(st.sampled_from(["score", "analyze", "gen=1", "prompt=0", "a b", "iter=1"]), max_size=3).map("/".join)
ADDRESSES = st.builds(
    Address,
    iteration=st.integers(0, 10**12),
    loop=st.sampled_from(["inner", "outer", "init", "test"]),
    task=st.just("") | NAMES,
    candidate=st.integers(0, 10**6),
    step=STEPS,
)


def test_parts_are_joined_from_the_outside_in() -> None:
    assert join("iter=1", "outer", "cand=4", "analyze") == "iter=1/outer/cand=4/analyze"


@given(seed=st.integers(), address=TEXT, attempt=st.integers(0, 9))
def test_a_place_always_draws_the_same(seed: int, address: str, attempt: int) -> None:
    assert rng_at(seed, address).random() == rng_at(seed, address).random()
    assert draw_at(seed, address, attempt=attempt) == draw_at(seed, address, attempt=attempt)


@given(seed=st.integers(), address=TEXT, attempt=st.integers(0, 99))
def test_a_draw_index_is_exact_in_every_json_reader(seed: int, address: str, attempt: int) -> None:
    draw = draw_at(seed, address, attempt=attempt)
    assert 0 <= draw < DRAWS
    assert int(float(draw)) == draw


@given(places=st.sets(st.tuples(st.integers(0, 99), TEXT, st.integers(0, 9)), min_size=2, max_size=50))
def test_seeds_addresses_and_attempts_are_told_apart(places: set[tuple[int, str, int]]) -> None:
    draws = {draw_at(seed, address, attempt=attempt) for seed, address, attempt in places}
    assert len(draws) == len(places)
    generators = {rng_at(seed, address).random() for seed, address, _ in places}
    assert len(generators) == len({(seed, address) for seed, address, _ in places})


@given(ADDRESSES)
def test_an_address_is_read_back_as_it_was(address: Address) -> None:
    assert Address.parse(str(address)) == address


PARTS = ["iter=1", "iter=01", "inner", "task=a", "task=", "cand=2", ""]


@given(st.text() | st.lists(st.sampled_from(PARTS)).map("/".join))
def test_any_text_is_an_address_and_stays_that_text(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", Address()),
        ("init/task=a", Address(loop="init", task="a")),
        ("iter=2/inner", Address(2, "inner")),
        ("iter=2/inner/task=a.b-c", Address(2, "inner", "a.b-c")),
        ("iter=2/inner/task=a/cand=10", Address(2, "inner", "a", 10)),
        ("iter=2/inner/task=a/cand=10/score", Address(2, "inner", "a", 10, "score")),
        ("iter=12/outer", Address(12, "outer")),
        ("iter=1/outer/cand=4/score/task=a/prompt=0", Address(1, "outer", "", 4, "score/task=a/prompt=0")),
        ("iter=1/outer/gen=1/cand=4", Address(1, "outer", step="gen=1/cand=4")),
        ("test/before/task=a/prompt=0", Address(loop="test", step="before/task=a/prompt=0")),
    ],
)
def test_what_journals_hold_since_ever_is_read(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


def test_the_loops_addresses_seed_as_they_always_did() -> None:
    """Another text would draw otherwise, and find no optimizer's answer in anybody's cache."""
    assert candidate_address(inner_address(3, task="sports"), 2) == "iter=3/inner/task=sports/cand=2"
    assert (inner_address(3), outer_address(12)) == ("iter=3/inner", "iter=12/outer")
    assert draw_at(7, "iter=3/inner/task=sports/cand=2/analyze", attempt=0) == 3200904987566209


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("iter=1/outer/cand=4", "iteration 1, system prompt, candidate 4"),
        ("iter=2/inner/task=a.b/cand=1", "iteration 2, user prompt of a.b, candidate 1"),
        ("iter=2/inner", "iteration 2, user prompts"),
        ("init", "first prompts"),
        ("adapt/task=x", "adapt, x"),
    ],
)
def test_people_read_an_address_in_words(address: str, words: str) -> None:
    assert Address.parse(address).words == words
