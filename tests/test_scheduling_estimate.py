"""Token estimates: the bound is a bound, and the expectation learns."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import Message, Request, Sampling, Usage
from metaspo.scheduling.estimate import TRUST_AFTER, TokenEstimator, size_of


def request_of(*texts: str, max_tokens: int = 100) -> Request:
    """A chat of user messages."""
    return Request(
        model="m", messages=tuple(Message("user", t) for t in texts), sampling=Sampling(max_tokens=max_tokens)
    )


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_before_anything_is_learned_a_prompt_has_no_more_tokens_than_bytes(texts: list[str]) -> None:
    """The certain bound for any tokenizer over bytes, in any script."""
    most, answer = TokenEstimator().most(size_of(request_of(*texts)))
    assert most >= sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    assert answer == 100


@settings(deadline=None)
@given(st.lists(st.integers(20, 4_000), min_size=TRUST_AFTER + 1, max_size=60), st.floats(0.1, 1.0))
def test_the_learned_bound_holds_for_the_same_kind_of_text(lengths: list[int], ratio: float) -> None:
    """And is closer than the bytes once it is trusted."""
    estimator = TokenEstimator()
    for length in lengths:
        size = size_of(request_of("x" * length))
        tokens = int(length * ratio) + 12
        assert estimator.most(size)[0] >= tokens
        estimator.observe(size, Usage(tokens, 7))
    if ratio < 0.3:
        assert estimator.most(size_of(request_of("x" * 4_000)))[0] < 4_000


def test_the_expectation_learns_prompt_and_answer() -> None:
    """After a hundred answers it is within a few percent of what such requests take."""
    estimator = TokenEstimator()
    size = size_of(request_of("x" * 1_000))
    assert estimator.expected(size) == pytest.approx(350)
    for _ in range(100):
        estimator.observe(size, Usage(200, 10))
    assert estimator.expected(size) == pytest.approx(210, rel=0.03)
