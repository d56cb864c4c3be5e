"""Where the tokenizer of the base model is on this machine: nothing is fetched for it."""

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.errors import ConfigError

FILE: Final = "tokenizer.json"
KEY: Final = "outer.max_prompt_tokens"


def check_tokenizer(table: ModelTable, *, source: str) -> None:
    """Raises `ConfigError` where a model's tokens cannot be counted."""
    if find_spec("tokenizers") is None:
        raise ConfigError(
            f"{source}: {KEY}: tokens are counted by the package tokenizers, which is not installed: pip install "
            "'metaspo[tokens]'"
        )
    if table.tokenizer and tokenizer_file(table) is None:
        raise ConfigError(
            f"{source}: base.tokenizer: there is no {FILE} for '{table.tokenizer}': give the path of such a file or of "
            "its folder, or the name of a model on Hugging Face whose files are on this machine"
        )
    if table.backend != "local" and tokenizer_file(table) is None:
        raise ConfigError(
            f"{source}: {KEY}: how {table.model} counts tokens is not known here: set base.tokenizer to the path of "
            f"its {FILE}, or to the name of a model on Hugging Face whose files are on this machine; or give "
            "outer.max_chars, in characters (a token of English has about four)"
        )


def tokenizer_file(table: ModelTable) -> Path | None:
    """The model's `tokenizer.json` on this machine: what the table names, else that of a model of its name in Hugging
    Face's own cache. None where there is none; a local model has its own within its file."""
    if not table.tokenizer and table.backend == "local":
        return None
    name = table.tokenizer or table.model
    if table.tokenizer:
        path = Path(name).expanduser()
        for file in (path, path / FILE):
            if file.is_file():
                return file.absolute()
    folder = _hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"
    kept = sorted(folder.glob(f"*/{FILE}"), key=lambda file: file.parent.name)
    main = folder.parent / "refs" / "main"
    named = folder / main.read_text(encoding="utf-8").strip() / FILE if main.is_file() else None
    return named if named in kept else next(iter(kept), None)


def tokenizer_digest(table: ModelTable) -> str:
    """What tells a tokenizer in a file of its own from others; "" for a local model's, which its weights tell."""
    file = tokenizer_file(table)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else ""


def _hub_cache() -> Path:
    """Where Hugging Face's libraries keep what they have fetched."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"
