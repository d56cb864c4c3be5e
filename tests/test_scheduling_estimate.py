"""Token estimates: the bound is a bound, and the expectation learns."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import Message, Request, Sampling, Usage
from metaspo.scheduling.estimate import (
    IMAGE_BYTES,
    IMAGE_CHARS,
    LONGEST_ANSWER,
    MESSAGE_TOKENS,
    TEMPLATE_TOKENS,
    TOKENS_PER_CHAR,
    USUAL_ANSWER,
    Size,
    TokenEstimator,
    size_of,
)


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


def test_an_answer_beyond_its_limit_widens_the_bound_of_the_next_one() -> None:
    """Reasoning that a provider bills and does not count within the limit is within the cap from the second call on."""
    estimator = TokenEstimator()
    for tokens in (5_000, 30):
        estimator.observe(size_of(request_of("hello", max_tokens=64)), Usage(40, tokens))
    assert estimator.upper_bound(size_of(request_of("hello", max_tokens=64)))[1] == 5_000
    assert estimator.upper_bound(size_of(request_of("hello", max_tokens=1_000)))[1] >= 5_000


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


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.text(max_size=30), st.integers(1, 400), st.integers(0, 900), st.integers(0, 300)), max_size=30
    )
)
def test_the_expectation_is_the_mean_of_what_was_seen_and_later_follows_it(
    seen: list[tuple[str, int, int, int]],
) -> None:
    """The mean of the first twenty, from then on a twentieth of each new one; of prompts without a letter nothing."""
    estimator, ratio, share, longest, beyond = TokenEstimator(), TOKENS_PER_CHAR, 1.0, TEMPLATE_TOKENS, 0
    for number, (text, limit, prompt, answer) in enumerate(seen, start=1):
        size = size_of(request_of(text, max_tokens=limit))
        estimator.observe(size, Usage(prompt, answer))
        rate = max(1 / 20, 1 / number)
        if text:
            ratio = (1 - rate) * ratio + rate * prompt / len(text)
        share = (1 - rate) * share + rate * answer / limit
        longest = max(longest, prompt - len(text.encode("utf-8", "surrogatepass")) - MESSAGE_TOKENS)
        beyond = max(beyond, answer - limit)
    asked = size_of(request_of("x" * 100, max_tokens=50))
    assert estimator.expected(asked) == max(1, round(100 * ratio + 50 * share))
    assert estimator.upper_bound(asked) == (100 + longest + MESSAGE_TOKENS, 50 + beyond)


def test_a_size_counts_letters_once_and_bytes_of_all_that_may_be_shown_to_the_model() -> None:
    """Messages, their further fields, the format of the answer, further parameters."""
    plain = Message("user", "four")
    wide = Message("user", "vier€")  # three bytes for the last letter
    more = replace(plain, extra='{"name": "é"}')  # thirteen letters, fourteen bytes
    sampling = Sampling(max_tokens=9, extra='{"a":1}')
    request = Request(model="m", messages=(plain, wide, more), sampling=sampling, response_format='{"é":1}')
    assert size_of(request) == Size(4 + 5 + 4, 4 + 7 + 4 + 14 + 7 + 8, 3, 9)
    empty = Request(model="m", messages=(), sampling=Sampling(max_tokens=0))
    assert TokenEstimator().expected(size_of(empty)) == 1
    unlimited = replace(empty, sampling=Sampling(max_tokens=None))
    assert TokenEstimator().expected(size_of(unlimited)) == USUAL_ANSWER
    assert TokenEstimator().upper_bound(size_of(unlimited))[1] == LONGEST_ANSWER
    estimator = TokenEstimator()
    estimator.observe(size_of(unlimited), Usage(0, USUAL_ANSWER // 2))
    estimator.observe(size_of(empty), Usage(0, 0))
    assert estimator.expected(size_of(unlimited)) == USUAL_ANSWER // 4


@pytest.mark.parametrize(
    ("content", "pictures"),
    [
        ("[]", 0),
        ('"text"', 0),
        ('[{"type": "text"}]', 0),
        ('[{"type": "image_url"}, {"type": "text"}]', 1),
        ('["odd", {"type": "input_audio"}]', 2),
    ],
)
def test_every_part_of_a_message_that_is_no_text_is_a_picture(content: str, pictures: int) -> None:
    """At its dearest for the bound; at a usual one for what is expected."""
    extra = f'{{"content": {content}}}'
    size = size_of(Request(model="m", messages=(Message("user", "", extra=extra),)))
    assert size.chars == IMAGE_CHARS * pictures
    assert size.bytes == len(extra) + IMAGE_BYTES * pictures
    damaged = size_of(Request(model="m", messages=(Message("user", "", extra="[1"),)))
    assert (damaged.chars, damaged.bytes) == (0, 2)


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("embeddings", "{}", 0),
        ("responses", "{}", LONGEST_ANSWER),
        ("responses", "[]", LONGEST_ANSWER),
        ("responses", "{", LONGEST_ANSWER),
        ("responses", '{"max_output_tokens": 7, "n": 3}', 21),
        ("completions", '{"max_tokens": 7, "max_output_tokens": 5}', 7),
        ("completions", '{"max_tokens": "7", "max_output_tokens": 5}', 5),
        ("completions", '{"max_tokens": 7, "n": 2, "best_of": 4}', 28),
        ("completions", '{"max_tokens": 7, "n": 0}', 7),
        ("completions", '{"max_tokens": 7, "prompt": "a"}', 7),
        ("completions", '{"max_tokens": 7, "prompt": []}', 7),
        ("completions", '{"max_tokens": 7, "prompt": ["a", "b", "c"]}', 21),
        ("completions", '{"max_tokens": 7, "prompt": [1, 2, 3]}', 7),
        ("completions", '{"max_tokens": 7, "prompt": [[1, 2], [3]], "n": 2}', 28),
    ],
)
def test_a_request_with_a_path_may_be_answered_as_long_as_its_body_says(path: str, body: str, tokens: int) -> None:
    """For all its prompts and answers together; its letters are those of the body."""
    request = Request(model="m", messages=(), sampling=Sampling(max_tokens=3, extra=body), path=path)
    assert size_of(request) == Size(len(body), len(body), 0, tokens)


@pytest.mark.parametrize(
    ("chars", "limit", "declared"),
    [
        (40, 100, (110, 100)),
        (41, 100, (111, 100)),  # a token that is begun counts
        (1_000, 100, (350, 250)),
        (0, LONGEST_ANSWER - 1, (LONGEST_ANSWER - 1, LONGEST_ANSWER - 1)),
        (40, LONGEST_ANSWER, ()),
        (40, LONGEST_ANSWER + 1, ()),
    ],
)
def test_what_is_counted_before_an_answer_is_prompt_and_limit_together_or_the_larger_one(
    chars: int, limit: int, declared: tuple[int, ...]
) -> None:
    """Four letters a token, as all who estimate do; nothing can be counted where there is no limit."""
    assert Size(chars, chars, 1, limit).declared() == declared


@pytest.mark.parametrize(
    ("chars", "limit", "tokens"),
    [(0, 100, 100), (63, 100, 100), (64, 100, 101), (6_400, LONGEST_ANSWER, USUAL_ANSWER + 100)],
)
def test_reading_sixty_four_letters_takes_as_long_as_writing_one_token(chars: int, limit: int, tokens: int) -> None:
    """At least so fast; an answer without limit takes as long as a usual one."""
    assert Size(chars, chars, 1, limit).longest == tokens
