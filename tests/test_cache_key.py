"""Equal requests have one key, different requests never share one."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import Message, Request, Role, Sampling
from metaspo.cache import explain_key, request_key

TRICKY_TEXTS = [
    "",
    "a",
    "ab",
    "b",
    "null",
    '"',
    '","',
    "\\",
    "0",
    "é",
    "e\u0301",
    "\ud800",
    "\U0001f600",
    "\ud83d\ude00",
    "\n",
    "\x7f",
]
PLAIN = Sampling()
ROLES: list[Role] = ["system", "user", "assistant"]
texts = st.lists(st.sampled_from(TRICKY_TEXTS), max_size=3).map("".join)
messages = st.builds(Message, st.sampled_from(ROLES), texts)
# Few values a field, so that equal requests and near misses are drawn often; the JSON texts all say different things.
samplings = st.builds(
    Sampling,
    max_tokens=st.sampled_from([1, 10, 2**70]),
    temperature=st.sampled_from([None, 0, 0.0, -0.0, 1, 1.0, 0.1, 1e-7]),
    top_p=st.sampled_from([None, 0.0, 1.0]),
    seed=st.sampled_from([None, 0, 1]),
    stop=st.lists(st.sampled_from(["", "a", "b", "ab"]), max_size=2).map(tuple),
    extra=st.sampled_from(["", "{}", "null", '{"a":1}', '{"a":1.0}', '{"a":"1"}', '{"a":null}']),
)
requests = st.builds(
    Request,
    model=st.sampled_from(["", "m", "null"]),
    messages=st.lists(messages, max_size=2).map(tuple),
    sampling=samplings,
    revision=st.sampled_from(["", "m", "null"]),
    response_format=st.sampled_from(["", "{}", "null", '{"a":1}']),
    draw=st.integers(0, 2),
)
OTHER_VALUES: dict[str, list[object]] = {
    "model": ["", "x", "m "],
    "revision": ["", "x"],
    "response_format": ["", "{}", "[]", "null"],
    "draw": [0, 1, 10],
    "messages": [(), (Message("user", "x"),), (Message("system", "x"),), (Message("user", "x"), Message("user", ""))],
}
OTHER_SAMPLING: dict[str, list[object]] = {
    "max_tokens": [1, 11, 2**70 + 1],
    "temperature": [None, 0.0, 1e-300, 0.1 + 0.2, 0.3, 10.0],
    "top_p": [None, 0.0, 1.0],
    "seed": [None, 0, 10, 2**64],
    "stop": [(), ("",), ("a",), ("a", ""), ("a", "b"), ("b", "a"), ("ab",)],
    "extra": ["", "{}", '{"n":18446744073709551617}', '{"n":18446744073709551618}', '{"a":true}', '{"a":1}'],
}
single_changes = st.sampled_from(
    [("", name, value) for name, values in OTHER_VALUES.items() for value in values]
    + [("sampling", name, value) for name, values in OTHER_SAMPLING.items() for value in values]
)


def changed(request: Request, where: str, name: str, value: object) -> Request:
    """The request with another value of one field."""
    if where:
        return replace(request, sampling=replace(request.sampling, **{name: value}))  # type: ignore[arg-type]
    return replace(request, **{name: value})  # type: ignore[arg-type]


def ask(*contents: str, sampling: Sampling = PLAIN) -> Request:
    """A request of user messages."""
    return Request(
        model="m",
        messages=tuple(Message("user", content) for content in contents),
        sampling=sampling,
    )


@given(requests, requests)
def test_two_requests_share_a_key_exactly_if_they_are_equal(one: Request, other: Request) -> None:
    """Any two requests: one key if and only if they are equal."""
    assert (request_key(one) == request_key(other)) == (one == other)


@given(requests, single_changes)
def test_every_field_counts(request: Request, change: tuple[str, str, object]) -> None:
    """A request that differs in one field alone has another key."""
    other = changed(request, *change)
    assert (request_key(request) == request_key(other)) == (request == other)


@given(requests)
def test_a_copy_has_the_same_key(request: Request) -> None:
    """The key depends on what a request holds, not on which object it is."""
    copy = replace(request, messages=tuple(replace(message) for message in request.messages))
    assert request_key(copy) == request_key(request)


@given(requests)
def test_canonical_text_is_plain_json(request: Request) -> None:
    """The fast encoder and the standard library's write the same text: what `explain_key` shows is what was hashed."""
    parts = explain_key(request)
    key = parts.pop("key")
    assert list(parts) == sorted(parts)
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    assert key == sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@given(st.text(), st.text())
def test_message_boundaries_count(left: str, right: str) -> None:
    """One message, two messages and the same words split elsewhere are different questions."""
    split_elsewhere = ask(left + right[:1], right[1:])
    assert request_key(ask(left, right)) != request_key(ask(left + right))
    assert (request_key(ask(left, right)) == request_key(split_elsewhere)) == (right == "")


def test_pinned_keys() -> None:
    """Keys are the same in all versions: these texts were written by hand from the description of the format."""
    plain = Request(model="m", messages=(Message("user", "Hi"),))
    plain_text = (
        '{"draw":0,"extra":null,"key_version":1,"max_tokens":1024,"messages":[["user","Hi"]],"model":"m",'
        '"response_format":null,"revision":null,"seed":null,"stop":null,"temperature":"0.0","top_p":null}'
    )
    full = Request(
        model="gpt-4o-mini",
        messages=(Message("system", 'Say "é"\n'), Message("user", "😀\ud800")),
        sampling=Sampling(
            max_tokens=5, temperature=1, top_p=0.5, seed=7, stop=("\n", "a"), extra='{ "b": [1e2, 1], "a": "\\u00e9" }'
        ),
        revision="r",
        response_format='{"type": "json_object"}',
        draw=3,
    )
    full_text = (
        '{"draw":3,"extra":"{\\"a\\":\\"é\\",\\"b\\":[100.0,1]}","key_version":1,"max_tokens":5,'
        '"messages":[["system","Say \\"é\\"\\n"],["user","😀\ud800"]],"model":"gpt-4o-mini",'
        '"response_format":"{\\"type\\":\\"json_object\\"}","revision":"r","seed":7,"stop":["\\n","a"],'
        '"temperature":"1.0","top_p":"0.5"}'
    )
    assert request_key(plain) == sha256(plain_text.encode()).hexdigest()
    assert request_key(full) == sha256(full_text.encode("utf-8", "surrogatepass")).hexdigest()


def test_another_process_makes_the_same_key() -> None:
    """Neither the process nor its hash seed shows in a key."""
    code = (
        "from metaspo.backends import *; from metaspo.cache import request_key\n"
        "print(request_key(Request(model='m', messages=(Message('user', 'é'),), "
        'sampling=Sampling(extra=\'{"b": 1, "a": {"d": 2, "c": 3}}\'))))'
    )
    request = ask("é", sampling=Sampling(extra='{"a":{"c":3,"d":2},"b":1}'))
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "4711"}, capture_output=True, check=True
    )
    assert run.stdout.decode().strip() == request_key(request)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,\n"a":1}'),
        ('{"a": 1e2}', '{"a": 100.0}'),
        ('{"a": "\\u00e9"}', '{"a": "é"}'),
        ('{"a": "\\ud83d\\ude00"}', '{"a": "😀"}'),
        ('{"a": 1, "a": 2}', '{"a": 2}'),
    ],
)
def test_json_counts_by_what_it_says(one: str, other: str) -> None:
    """Two spellings of one JSON value are one request."""
    assert request_key(ask(sampling=Sampling(extra=one))) == request_key(ask(sampling=Sampling(extra=other)))


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans(), min_size=1))
def test_an_object_given_as_such_is_its_text(given: dict[str, object]) -> None:
    text = json.dumps(given)
    assert request_key(ask(sampling=Sampling(extra=given))) == request_key(ask(sampling=Sampling(extra=text)))
    as_object, as_text = (Request(model="m", messages=(), response_format=form) for form in (given, text))
    assert request_key(as_object) == request_key(as_text)
    assert type(as_object.response_format) is str, "and is kept as that"


@pytest.mark.parametrize(
    ("one", "other"), [("{}", ""), ("null", ""), ('{"a":1}', '{"a":1.0}'), ('{"a":"é"}', '{"a":"e\u0301"}')]
)
def test_json_that_says_other_things_counts_apart(one: str, other: str) -> None:
    """Values that a server may take differently are different requests."""
    assert request_key(ask(sampling=Sampling(extra=one))) != request_key(ask(sampling=Sampling(extra=other)))


@pytest.mark.parametrize("text", ["{", "{'a': 1}", '{"a": NaN}', '{"a": 1e999}', "\ud800"])
def test_what_is_not_json_is_refused(text: str) -> None:
    """Text that no server could take is named in a clear error."""
    with pytest.raises(ValueError, match=r"sampling\.extra is not JSON"):
        request_key(ask(sampling=Sampling(extra=text)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(value: float) -> None:
    """A temperature that is no number is named in a clear error."""
    with pytest.raises(ValueError, match=r"sampling\.temperature"):
        request_key(ask(sampling=Sampling(temperature=value)))
