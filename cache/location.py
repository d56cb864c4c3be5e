"""What a cache is called in a config or on the command line: a folder's path, or a URL."""

import re
from pathlib import Path
from typing import Final

from metaspo.backends.paths import path_of
from metaspo.cache.base import StoreError
from metaspo.cache.redis.address import read_address

PASSWORD: Final = "REDIS_PASSWORD"  # noqa: S105 - the name of an environment variable
"""Where the password of a server is read from that a URL without one names."""
OF_FOLDERS: Final = ("", "files")
"""The schemes of stores that a folder holds, a path having none; everything else with a scheme is a server."""


def folder_of(location: str, *, folder: Path) -> Path | None:
    """The folder that a location names, relative to `folder`; None for a server's URL."""
    scheme = scheme_of(location)
    return folder / path_of(location.removeprefix(f"{scheme}://")) if scheme in OF_FOLDERS else None


def is_server(location: str) -> bool:
    """Whether a location is a server's URL, by which processes on many machines can share."""
    return bool(location) and folder_of(location, folder=Path()) is None


def check_location(location: str) -> None:
    """Raises `ValueError` for a URL that is none of a server of ours; whether there is one shows when it is asked."""
    if folder_of(location, folder=Path()) is None:
        try:
            read_address(location)
        except StoreError as error:
            raise ValueError(str(error)) from None


def holds_password(location: str) -> bool:
    """Whether a place is a URL with a password in it."""
    return re.search(r"://[^@/]*:.*@", location) is not None


def shown_location(location: str) -> str:
    """A place as it may be shown: without user and password."""
    return re.sub(r"://.*@", "://", location)


def scheme_of(location: str) -> str:
    """What stands before "://" in it; "" in a path."""
    return location.split("://")[0] if "://" in location else ""
