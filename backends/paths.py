"""Paths as people write them."""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

IN_PLACE = (errno.EACCES, errno.EPERM, errno.EBUSY)
DRAFT_LIVES = 600.0  # seconds, machines' clocks differing: it is written and put in its place in one go
LONGEST_TEXT = 8_000_000  # characters of a text that a person wrote
NO_FILE = "no such file"


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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, and keep its mode. What is no plain file, as a terminal, is written to, and so
    is one that cannot be replaced: in a folder of others, or mounted by itself. Raises `OSError` that names it."""
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")  # its own: others may write the same file
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(content)
            return
        try:
            beside.write_bytes(content)
            with suppress(OSError):  # there is none yet, or there are no modes
                beside.chmod(stat.S_IMODE(path.stat().st_mode))
            os.replace(beside, path)
        except OSError as error:
            if error.errno not in IN_PLACE or not path.is_file():
                raise
            path.write_bytes(content)
        finally:  # also where somebody interrupts it: nobody else would come to this name again
            with suppress(OSError):
                beside.unlink()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_drafts(folder: Path) -> None:
    """Remove what `write_whole` left behind in a folder where it was killed; what others write just now is younger."""
    for draft in folder.glob(f".*.{8 * '[0-9a-f]'}.new"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > DRAFT_LIVES:
                draft.unlink()


def read_written(path: Path) -> str:
    """A text file that a person wrote, in UTF-8.

    Raises `OSError`, `UnicodeDecodeError`, and `ValueError` for one that has no end, or none that a person comes to.
    """
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(LONGEST_TEXT + 1)
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"has more than {LONGEST_TEXT:,} characters, so nobody wrote it")
    return text


def why_unreadable(error: OSError | ValueError) -> str:
    """What kept somebody from reading a file, in the system's words."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text; save the file as UTF-8"
    return getattr(error, "strerror", None) or str(error)


def why_no_file(path: Path) -> str:
    """What is there in a file's place: `NO_FILE`, or what stands there instead; "" for a file."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # of which looking for a link would fail, too
            return f"cannot be reached: {error.strerror}"
        if path.is_symlink():
            leads = "itself" if error.errno == errno.ELOOP else f"{os.readlink(path)}, where nothing is"
            return f"is a link that leads to {leads}"
        return f"cannot be reached: {error.strerror}" if error.errno == errno.ELOOP else NO_FILE
    if stat.S_ISDIR(mode):
        return "is a folder; name the file in it"
    return "" if stat.S_ISREG(mode) else "is a pipe or a device, and is read more than once: keep its content in a file"


def why_not_made(error: OSError) -> str:
    """What kept somebody from making a folder: what stands in its place, or what the system says."""
    if isinstance(error, FileExistsError) and os.path.islink(error.filename):
        return f"{error.filename} is a link that leads to {os.readlink(error.filename)}, where nothing is"
    if isinstance(error, FileExistsError):
        return f"{error.filename} is a file"
    return error.strerror or str(error)
