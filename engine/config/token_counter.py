"""How many tokens of the base model a text has."""

from pathlib import Path

from anyio import to_thread

from metaspo.backends import fetch_model
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.tokens import FILE, KEY, tokenizer_file
from metaspo.engine.config.wording import CountTokens
from metaspo.engine.errors import ConfigError


async def open_counter(table: ModelTable) -> CountTokens:
    """What counts a model's tokens; a local model's file is fetched if it is not there. Raises `ConfigError`."""
    file = tokenizer_file(table)
    try:
        if file is None:
            return await to_thread.run_sync(_of_gguf, await fetch_model(table.model))
        return await to_thread.run_sync(_of_file, file)
    except ValueError as error:
        raise ConfigError(
            f"{KEY}: {error}: set base.tokenizer to the path of the model's {FILE}, or give outer.max_chars"
        ) from None


def _of_gguf(path: Path) -> CountTokens:
    from metaspo.backends.managed.gguf_tokens import tokenizer_in

    tokenizer = tokenizer_in(path)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _of_file(path: Path) -> CountTokens:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing more particular
        raise ValueError(f"{path} holds no tokenizer") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
