"""Where API keys come from: the environment, or a `.env` file."""

import codecs
import io
import os
import select
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.errors import ConfigError

PIPE_WAIT: Final = 10.0
"""Seconds for which a pipe may say nothing."""
_MOST: Final = 1_000_000
_QUOTED = late_pattern(r"""\s*(?:export\s+)?(\w+)\s*=\s*['"]""")


def environment_with_dotenv(*folders: Path) -> dict[str, str]:
    """The process's environment over the `.env` files of the folders, an earlier folder's before a later one's.

    Raises `ConfigError` for a file that cannot be read, and for a value of which it is not known where it ends.
    """
    variables: dict[str, str] = {}
    once: dict[str, Path] = {}  # what comes out of a pipe is not there a second time
    for folder in folders:
        once.setdefault(os.path.realpath(folder), folder)
    for folder in reversed(once.values()):
        text = _text_of(folder / ".env")
        _require_closed_quotes(text, folder / ".env")
        values = dotenv_values(stream=io.StringIO(text))
        variables.update({name: value for name, value in values.items() if value is not None})
    return {**variables, **os.environ}


def _require_closed_quotes(text: str, path: Path) -> None:
    for binding in parse_stream(io.StringIO(text)):
        if binding.error and (begun := _QUOTED.match(binding.original.string)) is not None:
            raise ConfigError(
                f"{path}:{binding.original.line}: the value of {begun[1]} begins with a quote and has no end"
            )


def _text_of(path: Path) -> str:
    """What a file holds, "" if there is none; in UTF-8, or in UTF-16, as the shell of Windows writes files."""
    try:
        content = _piped(path) if path.is_fifo() or path.is_char_device() else path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _piped(path: Path) -> bytes:
    """What comes out of a pipe, as password managers make of `.env`; waited for, but not for ever."""
    content = b""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        while len(content) < _MOST:
            if not select.select([pipe], [], [], PIPE_WAIT)[0]:
                raise ConfigError(f"{path}: a pipe into which nothing was written for {PIPE_WAIT:.0f} seconds")
            piece = pipe.read(_MOST)
            if piece == b"":
                return content
            content += piece or b""  # None where somebody else was faster
    raise ConfigError(f"{path}: has no end")
