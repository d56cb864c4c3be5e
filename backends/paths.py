"""Paths as people write them."""

from pathlib import Path


def path_of(text: str) -> Path:
    """The path that a text names, in which `~` is a home folder. Raises `ValueError` for what can be no file's name."""
    if "\0" in text:
        raise ValueError("holds a character that no file's name can have")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("begins with the home folder of somebody who is not known here") from None


def usable_path(text: str) -> str:
    """The text itself. Raises `ValueError` as `path_of` does."""
    path_of(text)
    return text
