"""Token estimates: the bound is a bound, and the expectation learns."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import Message, Request, Sampling, Usage
from metaspo.scheduling.estimate import TEMPLATE_TOKENS, TokenEstimator, size_of


def request_of(*texts: str, max_tokens: int = 100) -> Request:
    """A chat of user messages."""
    return Request(
        model="m", messages=tuple(Message("user", t) for t in texts), sampling=Sampling(max_tokens=max_tokens)
    )


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_before_anything_is_learned_a_prompt_has_no_more_tokens_than_bytes(texts: list[str]) -> None:
    """The certain bound for any tokenizer over bytes, in any script; format and tools may be shown to the model."""
    request = replace(request_of(*texts), response_format='{"type": "json_object"' + 1_000 * " " + "}")
    request = replace(request, sampling=replace(request.sampling, extra='{"tools": []' + 1_000 * " " + "}"))
    most, answer = TokenEstimator().upper_bound(size_of(request))
    extra = len(request.response_format) + len(request.sampling.extra)
    assert most >= TEMPLATE_TOKENS + extra + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    assert answer == 100


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=200), st.integers(0, 60)), max_size=60), st.text(max_size=2_000))
def test_nothing_that_is_learned_brings_the_bound_below_the_bytes(seen: list[tuple[str, int]], text: str) -> None:
    """Short answers, or another script, say nothing certain about the next prompt."""
    estimator = TokenEstimator()
    for earlier, tokens in seen:
        estimator.observe(size_of(request_of(earlier)), Usage(tokens, 7))
    assert (
        estimator.upper_bound(size_of(request_of(text)))[0]
        >= len(text.encode("utf-8", "surrogatepass")) + TEMPLATE_TOKENS
    )


def test_a_template_longer_than_thought_widens_the_bound() -> None:
    """One answer tells, and shorter ones after it do not make that forgotten."""
    estimator = TokenEstimator()
    for tokens in (900, 30):
        estimator.observe(size_of(request_of("hello")), Usage(tokens, 7))
    assert estimator.upper_bound(size_of(request_of("good-bye")))[0] >= 900 + len("good-bye") - len("hello")


def test_the_expectation_learns_prompt_and_answer() -> None:
    """After a hundred answers it is within a few percent of what such requests take."""
    estimator = TokenEstimator()
    size = size_of(request_of("x" * 1_000))
    assert estimator.expected(size) == pytest.approx(350)
    for _ in range(100):
        estimator.observe(size, Usage(200, 10))
    assert estimator.expected(size) == pytest.approx(210, rel=0.03)
