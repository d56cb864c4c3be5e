"""Paths as people write them."""

from pathlib import Path

LONGEST_TEXT = 8_000_000  # characters of a text that a person wrote


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


def read_written(path: Path) -> str:
    """A text file that a person wrote, in UTF-8.

    Raises `OSError`, `UnicodeDecodeError`, and `ValueError` for one that has no end, or none that a person comes to.
    """
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(LONGEST_TEXT + 1)
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"has more than {LONGEST_TEXT:,} characters, so nobody wrote it")
    return text
