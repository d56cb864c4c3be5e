"""Where API keys come from: the environment, or a `.env` file."""

import codecs
import io
import os
import re
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from metaspo.engine.errors import ConfigError

_QUOTED = re.compile(r"""\s*(?:export\s+)?(\w+)\s*=\s*['"]""")


def environment_with_dotenv(*folders: Path) -> dict[str, str]:
    """The process's environment over the `.env` files of the folders, an earlier folder's before a later one's.

    Raises `ConfigError` for a file that cannot be read, and for a value of which it is not known where it ends.
    """
    variables: dict[str, str] = {}
    for folder in reversed(folders):
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
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
