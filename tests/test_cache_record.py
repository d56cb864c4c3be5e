"""A record comes back as it was put in, or not at all."""

import math
import zlib
from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import Completion, Usage
from metaspo.cache import Entry
from metaspo.cache.record import BadRecord, decode_entry, encode_entry
from metaspo.cache.testing import make_entry, make_key

KEY = make_key("record")
any_text = st.text(st.characters(codec=None), max_size=20)  # lone surrogates included
counts = st.integers(0, 2**40)
seconds = st.floats(0, 1e12)
entries = st.builds(
    Entry,
    completion=st.builds(
        Completion,
        text=any_text,
        finish_reason=any_text,
        usage=st.builds(Usage, counts, counts, counts),
        latency=seconds,
        server=any_text,
    ),
    model=any_text,
    revision=any_text,
    run=any_text,
    created=seconds,
)


def sealed(body: bytes, *, version: bytes = b"1", key: str = KEY) -> bytes:
    """A record with a right checksum, written by hand."""
    return version + zlib.crc32(key.encode() + body).to_bytes(4, "big") + body


@given(entries)
def test_every_entry_comes_back(entry: Entry) -> None:
    """Decoding undoes encoding, for any text."""
    assert decode_entry(KEY, encode_entry(KEY, entry)) == entry


@given(entries, st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_is_noticed(entry: Entry, place: int, flip: int) -> None:
    """A record with one wrong byte is refused, never read as something else."""
    data = bytearray(encode_entry(KEY, entry))
    data[place % len(data)] ^= flip
    with pytest.raises(BadRecord):
        decode_entry(KEY, bytes(data))


def test_record_of_another_key_is_refused() -> None:
    """A record that was moved under another key is not that key's answer."""
    with pytest.raises(BadRecord, match="checksum"):
        decode_entry(make_key("other"), encode_entry(KEY, make_entry()))


@pytest.mark.parametrize(
    "completion",
    [
        make_entry().completion._replace(latency=math.nan),
        make_entry().completion._replace(usage=Usage(True, 1)),
        make_entry().completion._replace(text=cast("str", None)),
    ],
    ids=["no number", "no count", "no text"],
)
def test_what_could_not_be_read_again_is_not_written(completion: Completion) -> None:
    """A backend's mistake is told when its answer is kept, not when somebody looks for it."""
    with pytest.raises(BadRecord, match="fields"):
        encode_entry(KEY, make_entry()._replace(completion=completion))


def test_texts_and_numbers_of_other_kinds_are_kept() -> None:
    """A subclass of a text is kept as the text: the answer was paid for."""

    class Text(str):
        __slots__ = ()

    entry = make_entry()._replace(completion=make_entry().completion._replace(text=Text("yes")))
    assert decode_entry(KEY, encode_entry(KEY, entry)) == entry


def test_layout_is_as_described() -> None:
    """Version, checksum and array stand where the module's description says."""
    body = b'["yes","stop",120,7,64,0.41,"server-1 fp_2","m","r3","",1800000000.0]'
    assert encode_entry(KEY, make_entry()) == sealed(body)


def test_a_record_of_old_is_read() -> None:
    """Caches hold records that were written long ago: these bytes are read as this entry for ever."""
    record = b'1\x9a\x92*]["yes","stop",120,7,64,0.41,"server-1 fp_2","m","r3","",1800000000.0]'
    key = "d036256f29141c3eaf5ad6a5c58394e120381ec8720819009d66d1e8232ad2ae"
    assert decode_entry(key, record) == make_entry()


GOOD = ["t", "stop", 1, 2, 3, 0.5, "s", "m", "r", "run", 1.0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "format is b''"),
        (sealed(orjson.dumps(GOOD), version=b"3"), "format is b'3'"),
        (sealed(orjson.dumps(GOOD), version=b"2"), "fields"),
        (sealed(orjson.dumps([*GOOD, {"no field": "x"}]), version=b"2"), "fields"),
        (sealed(orjson.dumps([*GOOD, ["x"]]), version=b"2"), "fields"),
        (sealed(orjson.dumps([]), version=b"2"), "fields"),
        (sealed(orjson.dumps(GOOD))[:-1], "checksum"),
        (sealed(b"cos\nsystem"), "not JSON"),
        (sealed(b"\xff"), "not JSON"),
        (sealed(b"[" * 200_000), "not JSON"),
        (sealed(b"{}"), "fields"),
        (sealed(b"7"), "fields"),
        (sealed(b'{"text": "t"}', version=b"2"), "fields"),
        (sealed(orjson.dumps(GOOD[:-1])), "fields"),
        (sealed(orjson.dumps([*GOOD, 1])), "fields"),
        (sealed(orjson.dumps([*GOOD[:2], True, *GOOD[3:]])), "fields"),
        (sealed(orjson.dumps([None, *GOOD[1:]])), "fields"),
    ],
)
def test_what_is_no_entry_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    """Anything else than an entry's own fields is refused, and the reason is told."""
    with pytest.raises(BadRecord, match=reason):
        decode_entry(KEY, data)


def test_a_record_from_before_reasoning_was_kept_is_read_as_it_was_written() -> None:
    """Byte for byte what earlier versions wrote, and what this one still writes where nothing was thought."""
    body = b'["yes","stop",120,7,4,0.5,"m-1 fp","m-1","","run-1",1700000000.0]'
    entry = decode_entry(KEY, sealed(body))
    assert entry.completion == Completion(
        text="yes", finish_reason="stop", usage=Usage(120, 7, 4), latency=0.5, server="m-1 fp"
    )
    assert encode_entry(KEY, entry) == sealed(body)


def test_reasoning_is_kept_where_there_is_some() -> None:
    """Under the same key: it is part of the answer, not of the question."""
    entry = make_entry()
    entry = entry._replace(completion=entry.completion._replace(reasoning="First, 2 and 2 is 4."))
    assert decode_entry(KEY, encode_entry(KEY, entry)).completion.reasoning == "First, 2 and 2 is 4."
