"""What a call took, from whatever a server says it took."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import Message, Request, Usage
from metaspo.backends.usage import estimate_usage, read_usage
from metaspo.scheduling import Prices

REQUEST = Request(model="m", messages=(Message("system", "Be brief. " * 40), Message("user", "Why is it so? " * 200)))
ANSWER = "Because it was always so. " * 10
NEEDED = estimate_usage(REQUEST, ANSWER)
COUNTS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.integers(0, 5000),
    st.floats(),
    st.text(),
    st.integers(0, 5000).map(str),
    st.lists(st.integers()),
)
NAMES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens")
MORE_NAMES = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
DETAILS = st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), COUNTS)
SAID = st.dictionaries(st.sampled_from(NAMES + MORE_NAMES), COUNTS).flatmap(
    lambda counts: st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens_details": st.one_of(COUNTS, DETAILS),
            "completion_tokens_details": st.one_of(COUNTS, DETAILS),
        },
    ).map(lambda details: {**counts, **details})
)


def read(said: object) -> Usage:
    return read_usage(said, request=REQUEST, answer=ANSWER)


@given(st.one_of(SAID, COUNTS))
def test_no_count_is_below_what_the_texts_need_nor_a_price_below_nothing(said: object) -> None:
    """Whatever stands where the usage should be: a cap counts on it."""
    usage = read(said)
    assert usage.prompt_tokens * 128 >= sum(len(message.content) for message in REQUEST.messages)
    assert usage.completion_tokens * 128 >= len(ANSWER)
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens
    assert max(usage.prompt_tokens, usage.completion_tokens) <= 30_000_000
    assert all(type(count) is int for count in (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens))
    assert Prices(input=3.0, cached=0.3, output=15.0).dollars(usage) > 0


@given(prompt=st.integers(100, 5000), completion=st.integers(100, 5000), beside=st.integers(0, 5000))
def test_the_completion_is_at_least_the_total_minus_the_prompt(prompt: int, completion: int, beside: int) -> None:
    """xAI counts reasoning in the total alone; what is billed is booked."""
    total = prompt + completion + beside
    usage = read({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total})
    assert usage == Usage(prompt, completion + beside)


@given(prompt=st.integers(100, 5000), completion=st.integers(100, 5000), cached=st.integers(0, 100))
def test_what_is_said_properly_is_taken_as_it_is_said(prompt: int, completion: int, cached: int) -> None:
    """A provider's own count goes before any estimate of ours."""
    said = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": completion // 2},
    }
    assert read(said) == Usage(prompt, completion, cached)


DIALECTS: list[tuple[str, Any, Usage]] = [
    ("Gemini leaves the completion out", {"prompt_tokens": 90, "total_tokens": 400}, Usage(90, 310)),
    ("xAI's reasoning is beside the answer", {"prompt_tokens": 90, "completion_tokens": 70, "total_tokens": 460},
     Usage(90, 370)),
    ("reasoning beside the answer, without a total",
     {"prompt_tokens": 90, "completion_tokens": 70, "completion_tokens_details": {"reasoning_tokens": 300}},
     Usage(90, 370)),
    ("the prompt is left out", {"completion_tokens": 70, "total_tokens": 400}, Usage(330, 70)),
    ("only a total", {"total_tokens": 900}, Usage(NEEDED.prompt_tokens, 900 - NEEDED.prompt_tokens)),
    ("nothing", {}, NEEDED),
    ("fewer than can make the texts", {"prompt_tokens": 3, "completion_tokens": 1}, NEEDED),
    ("no object", [3], NEEDED),
    ("zeros", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, NEEDED),
    ("nulls", {"prompt_tokens": None, "completion_tokens": None}, NEEDED),
    ("booleans", {"prompt_tokens": True, "completion_tokens": True}, NEEDED),
    ("negative", {"prompt_tokens": -90, "completion_tokens": -70}, NEEDED),
    ("more than can be", {"prompt_tokens": 10**30, "completion_tokens": 1e300}, NEEDED),
    ("no number", {"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, NEEDED),
    ("texts", {"prompt_tokens": "90", "completion_tokens": " 70.0 "}, Usage(90, 70)),
    ("floats", {"prompt_tokens": 90.0, "completion_tokens": 69.5}, Usage(90, 70)),
    ("cached beside the prompt",
     {"prompt_tokens": 40, "completion_tokens": 70, "prompt_tokens_details": {"cached_tokens": 900}},
     Usage(940, 70, 900)),
    ("Anthropic's own names",
     {"input_tokens": 100, "output_tokens": 70, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 7},
     Usage(167, 70, 60)),
    ("Anthropic's names within OpenAI's",
     {"prompt_tokens": 100, "completion_tokens": 70, "cache_read_input_tokens": 60}, Usage(100, 70, 60)),
    ("OpenAI's newer names",
     {"input_tokens": 100, "output_tokens": 70, "input_tokens_details": {"cached_tokens": 60}}, Usage(100, 70, 60)),
    ("DeepSeek's name", {"prompt_tokens": 100, "completion_tokens": 70, "prompt_cache_hit_tokens": 64},
     Usage(100, 70, 64)),
    ("Moonshot's name", {"prompt_tokens": 100, "completion_tokens": 70, "cached_tokens": 64}, Usage(100, 70, 64)),
    ("details that are null",
     {"prompt_tokens": 100, "completion_tokens": 70, "prompt_tokens_details": None}, Usage(100, 70)),
]  # fmt: skip


@given(
    counts=st.fixed_dictionaries(
        {"prompt_tokens": st.integers(-1, 5000), "completion_tokens": st.integers(-1, 5000)},
        optional=dict.fromkeys((*NAMES[3:], *MORE_NAMES), st.integers(0, 5000)),
    ),
    beside=st.sampled_from([-1, 0, 0, 1]),
    details=st.sampled_from([{}, {"prompt_tokens_details": None}, {"prompt_tokens_details": {"cached_tokens": 9}}]),
    write=st.sampled_from([float, str]),
)
def test_a_count_is_the_same_however_it_is_written(
    counts: dict[str, int], beside: int, details: dict[str, object], write: type
) -> None:
    """Plain whole numbers are read by a shorter way, to the same end."""
    total = counts["prompt_tokens"] + counts["completion_tokens"] + beside
    said = {**counts, "total_tokens": total, **details}
    assert read(said) == read({**said, **{name: write(count) for name, count in counts.items()}})


@pytest.mark.parametrize(("said", "usage"), [dialect[1:] for dialect in DIALECTS], ids=[row[0] for row in DIALECTS])
def test_every_dialect_is_counted_as_it_is_billed(said: object, usage: Usage) -> None:
    """And what cannot be read is estimated, never free."""
    assert read(said) == usage


@pytest.mark.parametrize("cached", [0, 50, 100, 5000])
def test_no_price_is_below_nothing_whatever_was_booked_before(cached: int) -> None:
    """Caches of earlier versions hold more cached tokens than prompt."""
    assert Prices(input=3.0, cached=0.3, output=15.0).dollars(Usage(100, 0, cached)) >= 100 * 0.3 / 1e6 * 0.999
