"""What a call took, from whatever a server says it took."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import Message, Request, Sampling, Usage
from metaspo.backends.chat.usage import estimate_usage, read_usage
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
    ("Anthropic's first call, which only writes to the cache",
     {"input_tokens": 100, "output_tokens": 70, "cache_creation_input_tokens": 700}, Usage(800, 70)),
    ("the same within OpenAI's names",
     {"prompt_tokens": 100, "completion_tokens": 70, "total_tokens": 170, "cache_creation_input_tokens": 700},
     Usage(800, 70)),
    ("OpenAI's newer names, reasoning beside the answer",
     {"input_tokens": 100, "output_tokens": 70, "output_tokens_details": {"reasoning_tokens": 300}}, Usage(100, 370)),
    ("Perplexity's reasoning is beside the answer, and not in the total",
     {"prompt_tokens": 90, "completion_tokens": 70, "total_tokens": 160, "reasoning_tokens": 300}, Usage(90, 370)),
    ("SGLang's reasoning is within the answer",
     {"prompt_tokens": 90, "completion_tokens": 70, "total_tokens": 160, "reasoning_tokens": 60}, Usage(90, 70)),
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


WHOLE = st.integers(0, 400)


@given(WHOLE, WHOLE, st.text("ab", max_size=300), st.text("ab", max_size=300))
def test_what_nearly_every_server_says_is_read_as_its_longer_forms_are(
    prompt: int, completion: int, asked: str, answer: str
) -> None:
    """By whichever way it is gone through; no fewer tokens than a text of such a length can have."""
    request = Request(model="m", messages=(Message("user", asked),))
    plain = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    forms: list[dict[str, object]] = [
        dict(plain),
        {**plain, "prompt_tokens_details": None},
        {**plain, "prompt_tokens_details": {}},
        {**plain, "more": 1},
        {name: float(count) for name, count in plain.items()},
        {name: f" {count}.0 " for name, count in plain.items()},
        {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion},
    ]
    least_prompt = prompt if 128 * prompt >= len(asked) else max(prompt, -(-len(asked) // 4))
    least_answer = completion if 128 * completion >= len(answer) else -(-len(answer) // 4)
    expected = Usage(least_prompt, max(least_answer, prompt + completion - least_prompt), 0)
    assert [read_usage(form, request=request, answer=answer) for form in forms] == [expected] * len(forms)
    assert estimate_usage(request, answer) == Usage(-(-len(asked) // 4), -(-len(answer) // 4))
    nothings: tuple[object, ...] = (None, [], "7")
    for nothing in nothings:
        assert read_usage(nothing, request=request, answer=answer) == estimate_usage(request, answer)


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 10_000_000, "completion_tokens": 0, "total_tokens": 10_000_000}, (10_000_000, 0, 0)),
        ({"prompt_tokens": 10_000_001, "completion_tokens": 3, "total_tokens": 10_000_004}, (1, 3, 0)),
        ({"prompt_tokens": 10_000_001, "completion_tokens": 10_000_000, "total_tokens": 1}, (1, 10_000_000, 0)),
        ({"prompt_tokens": True, "completion_tokens": 3}, (1, 3, 0)),
        ({"prompt_tokens": -1, "completion_tokens": 3, "total_tokens": 2}, (1, 3, 0)),
        ({"completion_tokens": 3, "total_tokens": 12}, (9, 3, 0)),
        ({"completion_tokens": 0, "total_tokens": 12}, (1, 11, 0)),
        ({"completion_tokens": 12, "total_tokens": 12}, (1, 12, 0)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 20}, (8, 12, 0)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "cached_tokens": 8}, (8, 3, 8)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "cached_tokens": 9}, (17, 3, 9)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}, (17, 3, 9)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}, (8, 3, 2)),
        ({"input_tokens": 8, "output_tokens": 3, "cache_read_input_tokens": 2}, (10, 3, 2)),
        (
            {"input_tokens": 8, "output_tokens": 3, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 4},
            (14, 3, 2),
        ),
        ({"prompt_tokens": 8, "completion_tokens": 3, "cache_read_input_tokens": 2}, (8, 3, 2)),
        ({"input_tokens": 8, "output_tokens": 3, "cache_read_input_tokens": 0}, (8, 3, 0)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 3}}, (8, 3, 0)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 4}}, (8, 7, 0)),
        ({"prompt_tokens": 8, "completion_tokens": 3, "completion_tokens_details": [4]}, (8, 3, 0)),
        ({"prompt_tokens": 2.5, "completion_tokens": float("nan"), "total_tokens": "7.5"}, (3, 0, 0)),
    ],
)
def test_a_usage_is_counted_at_its_edges_as_it_is_meant(said: object, usage: tuple[int, int, int]) -> None:
    """Of a question that takes a token at the least."""
    request = Request(model="m", messages=(Message("user", "yes?"),))
    assert read_usage(said, request=request, answer="") == Usage(*usage)


@given(st.text(min_size=1, max_size=400), SAID.filter(lambda said: not {"prompt_tokens", "input_tokens"} & said.keys()))
def test_a_raw_request_of_which_nothing_is_said_counts_by_its_own_text(extra: str, said: dict[str, object]) -> None:
    raw = Request(model="m", messages=(), sampling=Sampling(extra=extra), path="rerank")
    assert estimate_usage(raw, ANSWER).prompt_tokens == math.ceil(len(extra) / 4)
    if "total_tokens" not in said:
        assert read_usage(said, request=raw, answer=ANSWER).prompt_tokens >= math.ceil(len(extra) / 4)


@pytest.mark.parametrize(("chars", "usage"), [(128, (1, 1)), (129, (33, 33))], ids=["possible", "impossible"])
@pytest.mark.parametrize("messages", [1, 2])
def test_a_token_may_be_of_128_characters_and_of_no_more(chars: int, usage: tuple[int, int], messages: int) -> None:
    """Of all messages together, and of an answer."""
    texts = ("a" * chars,) if messages == 1 else ("a" * 28, "a" * (chars - 28))
    request = Request(model="m", messages=tuple(Message("user", text) for text in texts))
    said = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    assert read_usage(said, request=request, answer="a" * chars) == Usage(*usage)
