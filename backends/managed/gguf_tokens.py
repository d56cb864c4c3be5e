"""The tokenizer that a GGUF file holds, as the package `tokenizers` runs it.

A file begins with a table of names and values, the vocabulary among them; the weights after it are not read. Known are
byte-level tokenizers, as nearly all models of today have: how each splits a text into words first is what
`tokenizer.ggml.pre` names.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LETTERS: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT_FORMS: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPLITS: Final[Mapping[str, tuple[str, ...]]] = {
    "qwen2": (rf"{_SHORT_FORMS}|{_LETTERS}|\p{{N}}|{_REST}",),
    "llama-bpe": (rf"{_SHORT_FORMS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}",),
    "smollm": (r"\p{N}", GPT2),
    "gpt-2": (GPT2,),
}
"""By the name of a way to split: the patterns that do it, one after the other."""

_NUMBERS: Final[Mapping[int, str]] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_TEXT, _LIST = 8, 9
_WANTED: Final = frozenset({f"tokenizer.ggml.{name}" for name in ("model", "pre", "tokens", "merges")})
MAX_LENGTH: Final = 10_000_000  # entries of a list, or bytes of a text: a file that claims more is broken


def tokenizer_in(path: Path) -> "Tokenizer":
    """The tokenizer of a GGUF file. Raises `ValueError` where it is of a kind that is not known."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    try:
        with path.open("rb") as file:
            table = _table(file)
    except (struct.error, UnicodeDecodeError, KeyError) as error:
        raise ValueError(f"{path.name} is no whole GGUF file") from error
    kind, split = table.get("tokenizer.ggml.model", "none"), table.get("tokenizer.ggml.pre", "none")
    if kind != "gpt2" or split not in SPLITS:
        raise ValueError(f"{path.name} has a tokenizer of a kind that is not known here ({kind}, {split})")
    pairs = [tuple(merge.split(" ", 1)) for merge in table["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(table["tokenizer.ggml.tokens"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[split]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def _table(file: BinaryIO) -> dict[str, Any]:
    """What of the file's table is wanted here."""
    if file.read(4) != b"GGUF":
        raise ValueError("this is no GGUF file")
    _, _, entries = _unpacked(file, "<IQQ")
    table: dict[str, Any] = {}
    for _ in range(min(entries, MAX_LENGTH)):
        name = _text(file)
        (kind,) = _unpacked(file, "<I")
        value = _value(file, kind)
        if name in _WANTED:
            table[name] = value
    return table


def _value(file: BinaryIO, kind: int) -> Any:  # noqa: ANN401 - whatever the file says
    if kind == _TEXT:
        return _text(file)
    if kind != _LIST:
        return _unpacked(file, _NUMBERS[kind])[0]
    inner, count = _unpacked(file, "<IQ")
    if count > MAX_LENGTH:
        raise ValueError(f"a list of {count} entries")
    if inner in _NUMBERS:
        return _unpacked(file, f"<{count}{_NUMBERS[inner][1:]}")
    return [_value(file, inner) for _ in range(count)]


def _text(file: BinaryIO) -> str:
    (size,) = _unpacked(file, "<Q")
    if size > MAX_LENGTH:
        raise ValueError(f"a text of {size} bytes")
    return file.read(size).decode()


def _unpacked(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
