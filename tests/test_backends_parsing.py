"""The small parsers of the backends: durations, waits, limits, base URLs."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import LimitHints
from metaspo.backends.http.base_url import parse_base_url
from metaspo.backends.http.limit_headers import parse_duration, parse_limit_hints, parse_retry_after
from metaspo.backends.http.prometheus import parse_load


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_go_durations_read_back(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    """In the way Go writes them: "1h2m3.004s", or units on their own."""
    expected = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert parse_duration(f"{hours}h{minutes}m{seconds}.{milliseconds:03d}s") == pytest.approx(expected)
    assert parse_duration(f"{milliseconds}ms") == pytest.approx(milliseconds / 1000)
    assert parse_duration(f"{minutes}m{seconds}s") == minutes * 60 + seconds
    assert parse_duration(f"{seconds}") == seconds


@pytest.mark.parametrize("text", ["", "s", "1x", "1s2", "-", "soon", "1 s", "nan", "inf", "1s garbage"])
def test_what_is_no_duration_is_none(text: str) -> None:
    """Headers are feedback, never required."""
    assert parse_duration(text) is None


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text()))
def test_no_wait_is_negative_and_nothing_raises(headers: dict[str, str]) -> None:
    """Whatever a proxy makes of the headers."""
    wait = parse_retry_after(headers)
    assert wait is None or 0 < wait < float("inf")


@given(st.integers(-5000, 5000))
def test_a_date_counts_from_the_response_s_own(seconds: int) -> None:
    """So that our clock may be wrong; a date in the past says nothing."""
    sent = datetime(2026, 11, 23, tzinfo=UTC)
    headers = {"date": format_datetime(sent, usegmt=True)}
    headers["retry-after"] = format_datetime(sent + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(headers) == (seconds if seconds > 0 else None)


@pytest.mark.parametrize(
    "header",
    [
        f"Fri, 27 Nov {'9' * 20} 10:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "1e300",
        "99999999999",
        "inf",
        "nan",
        "soon",
        "",
        "0x10",
        "Fri, 27 Nov 2026",
        "0",
        "-5",
        "0.0",
    ],
)
def test_what_cannot_be_read_or_meant_is_no_wait(header: str) -> None:
    """Years of twenty digits above all, which are not even a date."""
    assert parse_retry_after({"retry-after": header, "date": "Fri, 27 Nov 2026 10:00:00 GMT"}) is None


def test_milliseconds_go_before_seconds() -> None:
    """They are the finer word for the same thing."""
    assert parse_retry_after({"retry-after-ms": "1500", "retry-after": "2"}) == 1.5
    assert parse_retry_after({"retry-after-ms": "?", "retry-after": "2"}) == 2
    assert parse_retry_after({"retry-after-ms": "0", "retry-after": "2"}) == 2
    assert parse_retry_after({"retry-after-ms": "1e300", "retry-after": "2"}) == 2


COUNTS = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-limit-tokens"]


def test_a_limit_of_nothing_is_none() -> None:
    """Gateways send 0 where there is no limit; a lane waited for 14 hours after eight answers."""
    nothing = {f"x-ratelimit-{what}-tokens": "0" for what in ("limit", "remaining")}
    requests = {"x-ratelimit-limit-requests": "9", "x-ratelimit-remaining-requests": "0"}
    assert parse_limit_hints({**nothing, "x-ratelimit-reset-tokens": "1h"}) is None
    assert parse_limit_hints({**nothing, **requests}) == LimitHints(requests_limit=9, requests_remaining=0)


@given(st.dictionaries(st.sampled_from(COUNTS), st.integers(1, 10**12)))
def test_limits_read_back_with_any_of_them_missing(counts: dict[str, int]) -> None:
    """None stands for each that is not there, and for all of them if none is."""
    hints = parse_limit_hints({name: str(count) for name, count in counts.items()})
    if not counts:
        assert hints is None
    else:
        expected = [counts.get(name) for name in COUNTS]
        assert hints == LimitHints(requests_limit=expected[0], requests_remaining=expected[1], tokens_limit=expected[2])


@given(st.text())
def test_nonsense_limits_are_no_limits(text: str) -> None:
    """And raise nothing."""
    hints = parse_limit_hints({"x-ratelimit-limit-requests": text, "x-ratelimit-limit-project-tokens": "5"})
    assert hints is None or (hints == LimitHints(requests_limit=int(text)) and int(text) > 0)


@given(st.text())
def test_any_metrics_page_can_be_read(text: str) -> None:
    """Only finite numbers come out."""
    load = parse_load(text + "\nvllm:num_requests_running " + text)
    assert all(abs(value) < float("inf") for value in load.values())


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_base_urls_are_read_as_people_write_them(tail: str) -> None:
    """With or without /v1 and slashes."""
    url = parse_base_url(f" http://127.0.0.1:8000{tail} ")
    assert (url.api, url.root, url.label) == ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000", "127.0.0.1:8000")


@pytest.mark.parametrize(
    ("text", "api", "label"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1", "api.openai.com"),
        ("https://gate.example/api", "https://gate.example/api/v1", "gate.example"),
        ("https://gate.example/v1beta/openai/", "https://gate.example/v1beta/openai", "gate.example"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1", "[::1]:80"),
    ],
)
def test_paths_before_and_after_the_version_are_kept(text: str, api: str, label: str) -> None:
    """Gateways put the API where they like."""
    url = parse_base_url(text)
    assert (url.api, url.label) == (api, label)


@pytest.mark.parametrize(
    ("text", "root", "chat", "other", "models"),
    [
        ("http://h", "http://h", "http://h/v1/chat/completions", "", "http://h/v1/models"),
        ("http://h/v2", "http://h", "http://h/v2/chat/completions", "", "http://h/v2/models"),
        (
            "http://h/a",
            "http://h/a",
            "http://h/a/v1/chat/completions",
            "http://h/a/chat/completions",
            "http://h/a/v1/models",
        ),
        ("http://h/a/chat/completions/", "http://h/a", "http://h/a/chat/completions", "", "http://h/a/models"),
        (
            "http://h/a?x=1",
            "http://h/a",
            "http://h/a/v1/chat/completions?x=1",
            "http://h/a/chat/completions?x=1",
            "http://h/a/v1/models?x=1",
        ),
        (
            "http://h/a?api-version=1",
            "http://h/a",
            "http://h/a/chat/completions?api-version=1",
            "",
            "http://h/a/models?api-version=1",
        ),
        (
            "http://h/v1beta/a",
            "http://h/v1beta/a",
            "http://h/v1beta/a/chat/completions",
            "",
            "http://h/v1beta/a/models",
        ),
        (
            "https://api.perplexity.ai",
            "https://api.perplexity.ai",
            "https://api.perplexity.ai/chat/completions",
            "",
            "https://api.perplexity.ai/models",
        ),
    ],
)
def test_an_address_says_where_each_thing_is(text: str, root: str, chat: str, other: str, models: str) -> None:
    """Behind a path without a version a chat call may go to either of two places; anywhere else to one."""
    url = parse_base_url(text)
    assert (url.root, url.chat, url.other_chat, url.models) == (root, chat, other, models)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:8000",
        "ftp://h",
        "http://",
        "http://u:secret@h",
        "http://h?key=secret",
        "http://h:x/",
        "http://:secret@h/v1",
        "http://h/v1#secret",
        "http://h/v1?a=b&api_token=",
    ],
)
def test_what_is_no_base_url_is_refused_without_repeating_it(text: str) -> None:
    """It may hold a key."""
    with pytest.raises(ValueError, match=r"base URL|Port") as caught:
        parse_base_url(text)
    assert "secret" not in str(caught.value)
