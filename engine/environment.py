"""Where API keys come from: the environment, or a `.env` file."""

import codecs
import io
import os
from pathlib import Path

from dotenv import dotenv_values

from metaspo.engine.errors import ConfigError


def environment_with_dotenv(*folders: Path) -> dict[str, str]:
    """The process's environment over the `.env` files of the folders, an earlier folder's before a later one's.

    Raises `ConfigError` for a file that cannot be read.
    """
    variables: dict[str, str] = {}
    for folder in reversed(folders):
        values = dotenv_values(stream=io.StringIO(_text_of(folder / ".env")))
        variables.update({name: value for name, value in values.items() if value is not None})
    return {**variables, **os.environ}


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
