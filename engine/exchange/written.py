"""The files of an export, written into a folder in which a person may have changed what was there."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from metaspo.backends.paths import why_not_made, write_whole
from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange.exported import ABOUT
from metaspo.engine.runs.directory import JSON
from metaspo.scheduling import RunStopped

WRITTEN: Final = "written"  # in about.json: the SHA-256 of each file as it was written
ELSEWHERE: Final = "name another folder with --out"


def write_export(folder: Path, files: Mapping[str, str], *, about: Mapping[str, Any]) -> list[Path]:
    """Write the files and `about.json`, which says what they were; where they are.

    A file that is no longer as an export wrote it is a person's, and stays: then nothing is written.

    Raises:
        ConfigError: for such a file, and where nothing may be written.
        RunStopped: where nothing more can be, as on a full disk.
    """
    contents = {name: text.encode() + b"\n" for name, text in files.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write there: {why_not_made(error)}; {ELSEWHERE}") from error
    before = _written_before(folder)
    for name, content in contents.items():
        there = _content_of(folder / name)
        if there not in (None, content) and before.get(name) != _digest(there or b""):
            raise ConfigError(f"{folder / name}: is not as it was exported: move it away, or {ELSEWHERE}")
    written = {**before, **{name: _digest(content) for name, content in contents.items()}}
    contents[ABOUT] = orjson.dumps({**about, WRITTEN: written}, option=JSON)
    for name, content in contents.items():
        try:
            write_whole(folder / name, content)
        except (PermissionError, IsADirectoryError) as error:
            raise ConfigError(f"{folder / name}: cannot be written: {error.strerror}; {ELSEWHERE}") from error
        except OSError as error:  # a full disk
            raise RunStopped(
                f"{folder / name} cannot be written: {error.strerror}. Free some space, or {ELSEWHERE}."
            ) from error
    return [folder / name for name in contents]


def _written_before(folder: Path) -> dict[str, str]:
    """What `about.json` says of the files there. Raises `ConfigError` where it is none of ours."""
    there = _content_of(folder / ABOUT)
    if there is None:
        return {}
    try:
        about = orjson.loads(there)
    except orjson.JSONDecodeError:
        about = None
    if not isinstance(about, dict) or "metaspo" not in about:
        raise ConfigError(f"{folder / ABOUT}: is not as it was exported: move it away, or {ELSEWHERE}")
    said = about.get(WRITTEN)
    return said if isinstance(said, dict) else {}


def _content_of(path: Path) -> bytes | None:
    """What a file holds; None where there is none. Raises `ConfigError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; {ELSEWHERE}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
