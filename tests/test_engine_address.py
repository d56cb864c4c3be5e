"""Addresses seed everything random: the same place draws the same, different places do not."""

from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.addresses import DRAWS, draw_at, join, rng_at

TEXT = st.text(min_size=1, max_size=20)


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
