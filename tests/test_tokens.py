"""The base model's tokens are counted by its own tokenizer; where that is not known a run says so before it begins."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import make_config, make_task

from metaspo.engine import RunConfig
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.config.token_counter import open_counter
from metaspo.engine.config.tokens import tokenizer_file
from metaspo.engine.errors import ConfigError
from metaspo.engine.runs.identity import fingerprint

pytest.importorskip("tokenizers", reason="counting tokens needs the extra `tokens`")

from metaspo.backends.managed.gguf_tokens import tokenizer_in

TASKS = (make_task("a"),)
WORDS = {"model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}}
SPLIT = {"pre_tokenizer": {"type": "WhitespaceSplit"}}
SERVER = {"model": "owner/answerer", "endpoints": ["http://127.0.0.1:1/v1"]}


def measured(**base: object) -> RunConfig:
    """A run whose system prompts are measured in tokens."""
    return make_config({"base": {**SERVER, **base}, "outer": {"max_prompt_tokens": 40}})


def write_tokenizer(file: Path, *, more: str = "") -> Path:
    """A tokenizer of a token a word, as Hugging Face's libraries write one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"version": "1.0", "added_tokens": [], **WORDS, **SPLIT}) + more, encoding="utf-8")
    return file


def in_gguf(value: object) -> bytes:
    """A value as GGUF has it, after its kind."""
    match value:
        case str():
            return struct.pack("<IQ", 8, len(value.encode())) + value.encode()
        case list():
            items = [in_gguf(item) for item in value]
            return struct.pack("<I", 9) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(i[4:] for i in items)
        case _:
            return struct.pack("<If", 6, value)


def write_gguf(file: Path, *, pre: str = "gpt-2") -> Path:
    """The head of a model's file, with a vocabulary of letters and one pair of them."""
    table = {
        "general.name": "tiny",
        "general.scale": 0.5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.scores": [0.5, 1.0, 2.0],
        "tokenizer.ggml.tokens": ["a", "b", "c", "Ġ", "ab"],
        "tokenizer.ggml.merges": ["a b"],
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(table))
    names = [(name.encode(), value) for name, value in table.items()]
    file.write_bytes(head + b"".join(struct.pack("<Q", len(n)) + n + in_gguf(value) for n, value in names))
    return file


@given(st.text("abc ", max_size=30))
def test_a_gguf_files_tokenizer_joins_the_pairs_that_it_names(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    assert len(tokenizer_in(file).encode(text).ids) == len(text) - text.count("ab")


def test_a_gguf_file_that_is_broken_or_of_another_kind_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"other.gguf has a tokenizer of a kind that is not known here \(gpt2, new\)"):
        tokenizer_in(write_gguf(tmp_path / "other.gguf", pre="new"))
    whole = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    for size in range(4, len(whole), 7):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut.gguf"):
            tokenizer_in(tmp_path / "cut.gguf")


async def test_tokens_are_counted_by_the_tokenizer_that_the_config_names(tmp_path: Path) -> None:
    file = write_tokenizer(tmp_path / "model" / "tokenizer.json")
    for name in (str(file), str(file.parent)):
        count = await open_counter(measured(tokenizer=name).base)
        assert [count(text) for text in ("", "You are helpful.")] == [0, 3]
    check_optimizable(measured(tokenizer=str(file)), TASKS, source="x.toml")


def test_a_models_tokenizer_is_found_among_what_hugging_face_has_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--answerer"
    with pytest.raises(ConfigError, match=r"^x.toml: outer.max_prompt_tokens: how owner/answerer counts tokens is not"):
        check_optimizable(measured(), TASKS, source="x.toml")
    files = [write_tokenizer(folder / "snapshots" / name / "tokenizer.json") for name in ("aaa", "bbb")]
    assert tokenizer_file(measured().base) == files[0]
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("bbb", encoding="utf-8")
    assert tokenizer_file(measured().base) == files[1]
    check_optimizable(measured(), TASKS, source="x.toml")


def test_a_tokenizer_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"base.tokenizer: there is no tokenizer.json for 'nowhere': give the path"):
        check_optimizable(measured(tokenizer="nowhere"), TASKS, source="x.toml")


async def test_a_file_that_holds_no_tokenizer_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tokenizer.json holds no tokenizer: set base.tokenizer"):
        await open_counter(measured(tokenizer=str(tmp_path)).base)


def test_another_tokenizer_makes_another_run_and_where_none_measures_it_names_none(tmp_path: Path) -> None:
    file = write_tokenizer(tmp_path / "tokenizer.json")
    first = fingerprint(measured(tokenizer=str(file)), TASKS)
    write_tokenizer(file, more=" ")
    assert fingerprint(measured(tokenizer=str(file)), TASKS) != first
    plain = make_config({"base": {**SERVER, "tokenizer": str(file)}})
    assert fingerprint(plain, TASKS) == fingerprint(make_config({"base": SERVER}), TASKS)


@pytest.mark.model
async def test_the_embedded_models_tokens_are_those_that_its_server_counts() -> None:
    """By how many tokens longer a prompt is, for each of these texts, than a prompt without."""
    from metaspo.backends import LocalModel, Message, Request, Sampling

    count = await open_counter(make_config({"base": {"backend": "local", "model": "smollm2"}}).base)
    model = LocalModel("smollm2", threads=1, parallel=1, context=512)

    async def tokens(text: str) -> int:
        request = Request(
            model="smollm2", messages=(Message("user", f"x\n{text}\nx"),), sampling=Sampling(max_tokens=1)
        )
        return (await model.complete(request, time_limit=60)).completion.usage.prompt_tokens

    try:
        base = await tokens("x") - count("x\nx\nx")
        for text in ("You are a helpful assistant.", "It's 12345 o'clock:  go!", "Straße, 中文 — émigré 🙂"):
            assert await tokens(text) - base == count(f"x\n{text}\nx")
    finally:
        await model.aclose()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (b"", "this is no GGUF file"),
        (struct.pack("<Q", 10**7 + 1), "a text of 10000001 bytes"),
        (struct.pack("<Q1sIIQ", 1, b"n", 9, 0, 10**7 + 1).replace(b"n\0\0\0", b"n"), "a list of 10000001 entries"),
        (struct.pack("<Q1s", 1, b"n") + struct.pack("<I", 99), "is no whole GGUF file"),
    ],
)
def test_a_gguf_file_that_claims_what_none_has_is_read_no_further(tmp_path: Path, entry: bytes, said: str) -> None:
    file = tmp_path / "odd.gguf"
    file.write_bytes((b"GGUF" if entry else b"PK") + struct.pack("<IQQ", 3, 0, 1) + entry)
    with pytest.raises(ValueError, match=said):
        tokenizer_in(file)
