"""What a server says went wrong, in whatever form: each thing once, where it was wrong before it, not too deep."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends.http.server_words import ErrorBody, parse_error_body, read_error


def nested(levels: int, words: str) -> object:
    """A message within a message, so often."""
    body: object = words
    for _ in range(levels):
        body = {"message": body}
    return body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("alone", ErrorBody(message="alone")),
        (7, ErrorBody()),
        ([], ErrorBody()),
        (["text", {"message": "first"}, {"message": "second"}], ErrorBody(message="first")),
        ({"error": "plain"}, ErrorBody(message="plain")),
        ({"error": {"message": " Not so. "}}, ErrorBody(message="Not so")),
        ({"error": {"message": "", "msg": "second name"}}, ErrorBody(message="second name")),
        ({"message": "a", "msg": "b"}, ErrorBody(message="a")),
        ({"message": ".", "metadata": {"raw": "b"}}, ErrorBody(message="b")),
        ({"detail": [{"msg": "a"}, {"msg": "a."}, {"msg": "b"}]}, ErrorBody(message="a. b")),
        ({"detail": [{"msg": str(n)} for n in range(9)]}, ErrorBody(message="0. 1. 2. 3. 4")),
        ({"detail": [{"msg": "a", "loc": []}]}, ErrorBody(message="a")),
        ({"detail": [{"msg": "a", "loc": ["b", 0, "c"]}]}, ErrorBody(message="b.0.c: a")),
        ({"detail": [{"msg": "a", "loc": list("1234567")}]}, ErrorBody(message="1.2.3.4.5.6: a")),
        ({"loc": ["b"], "detail": [{"msg": "a"}, {"msg": "c"}]}, ErrorBody(message="b: a. c")),
        ({"error": {"message": "a", "metadata": {"raw": "b"}}}, ErrorBody(message="a. b")),
        ({"error": {"metadata": {"raw": "b"}}}, ErrorBody(message="b")),
        ({"error": {"message": "a", "metadata": "b"}}, ErrorBody(message="a")),
        ({"message": '{"error": "within"}'}, ErrorBody(message="within")),
        ({"message": '["within", "two"]'}, ErrorBody(message="within. two")),
        ({"message": "{not JSON"}, ErrorBody(message="{not JSON")),
        ({"message": '{"error": "' + "x" * 9_000 + '"}'}, ErrorBody(message='{"error": "' + "x" * 9_000 + '"}')),
        (nested(6, "deep"), ErrorBody(message="deep")),
        (nested(7, "deeper"), ErrorBody(message="")),
        ({"message": json.dumps(nested(4, "deep"))}, ErrorBody(message="deep")),
        ({"message": json.dumps(nested(5, "deeper"))}, ErrorBody(message="")),
        ({"error": {"code": "c", "type": "t"}}, ErrorBody(code="c", type="t")),
        ({"error": {"code": 429}, "type": "outer"}, ErrorBody(type="outer", status=429)),
        ({"code": "503", "error_type": "e"}, ErrorBody(code="503", type="e", status=503)),
        ({"code": 399}, ErrorBody()),
        ({"code": 400}, ErrorBody(status=400)),
        ({"code": 599}, ErrorBody(status=599)),
        ({"code": 600}, ErrorBody()),
        ({"code": True, "status": "404"}, ErrorBody(code="404", status=404)),
        ({"code": 5, "status": 404}, ErrorBody(status=404)),
        ({"status": "NOT_FOUND"}, ErrorBody(code="NOT_FOUND")),
        ({"code": 7, "details": [{"reason": "R"}], "status": "S"}, ErrorBody(code="R")),
        ({"details": [7, {"retryDelay": 3}, {"retryDelay": "34s"}, {"retryDelay": "9s"}]}, ErrorBody(retry_after=34.0)),
        ({"details": [{"retryDelay": "200h"}]}, ErrorBody()),
        ({"details": {"reason": "R"}}, ErrorBody()),
    ],
)
def test_an_error_is_read_from_all_forms_that_servers_give_it(body: object, said: ErrorBody) -> None:
    """Code, type, words, status, and when to come back."""
    assert read_error(body) == said
    assert parse_error_body(json.dumps(body).encode()) == said


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"plain  text\n here", "plain text here"),
        (b'{"broken": "off', ""),
        (b' ["broken', ""),
        (b"<title>A</title><h1>B &amp; C</h1>", "A. A B & C"),
        (b"<head><title>A</title></head><!-- no --><style>no</style><p>B</p><script>no</script >", "A. B"),
        (b"<title lang='x'>A\n</title>", "A . A"),
        (b"x" * 7_999 + b"yz", "x" * 7_999 + "y"),
    ],
)
def test_of_a_page_is_read_what_a_reader_sees(page: bytes, words: str) -> None:
    """As far as is looked at; what is no page is broken JSON."""
    assert parse_error_body(page) == ErrorBody(message=words)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "loc", "detail", "details", "code", "status", "metadata", "raw"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_body_says_something_or_nothing(body: object) -> None:
    """No sentence twice, and no status that is none."""
    said = read_error(body)
    assert said.status == 0 or 400 <= said.status < 600
    assert said.retry_after is None or said.retry_after >= 0
