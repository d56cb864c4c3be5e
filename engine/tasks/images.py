"""Images of examples: files beside the data, as parts of a message."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from metaspo.backends import Message, json_text
from metaspo.backends.paths import why_unreadable
from metaspo.engine.tasks.cells import Row, column_of
from metaspo.engine.tasks.data_spec import DataSource
from metaspo.engine.tasks.errors import TaskError

LARGEST: Final = 5_000_000  # bytes of one file: what most providers take, and what 50 rows of fit in memory with
_HEAD: Final = 16


@dataclass(frozen=True, slots=True)
class Image:
    """An image that goes with a question.

    Attributes:
        name: as the data name it.
        path: where the file is.
        kind: its MIME type, by what the file holds.
        data: its bytes in base64; "" until it is read.
    """

    name: str
    path: Path = field(compare=False, repr=False)
    kind: str
    data: str = field(default="", repr=False)

    @property
    def digest(self) -> str:
        """The same for two images that show the same. They have been read."""
        return hashlib.sha256(self.data.encode()).hexdigest()

    def read(self) -> "Image":
        """The same with its bytes. Raises `TaskError`."""
        try:
            return replace(self, data=base64.b64encode(self.path.read_bytes()).decode())
        except OSError as error:
            raise TaskError(f"image {self.path}: cannot be read: {error.strerror}") from None


def images_of(row: Row, columns: Sequence[str], *, source: DataSource | None, base_dir: Path) -> tuple[Image, ...]:
    """The images that a row's columns name, one or a list each; an empty cell names none. Raises `TaskError`.

    A path starts at the folder of the data file (at the config's for rows that stand in it), and leads to nothing
    outside of it.
    """
    if not columns:
        return ()
    if source is None or source.dataset is not None:
        raise TaskError(
            f"{row.where}: images are files beside a data file, and this is a dataset: write its rows to one"
        )
    folder = (base_dir / Path(source.path).expanduser()).parent if source.path else base_dir
    images: list[Image] = []
    for column in columns:
        value = column_of(row, column)
        names = value if isinstance(value, list | tuple) else [value]
        where = f"{row.where}: column {column!r}"
        images += [_image(name, folder, where) for name in names if name not in (None, "")]
    return tuple(images)


def with_images(text: str, images: Sequence[Image]) -> Message:
    """A user's message: the text, then the images."""
    if not images:
        return Message("user", text)
    parts = [{"type": "image_url", "image_url": {"url": f"data:{image.kind};base64,{image.data}"}} for image in images]
    return Message("user", text, json_text({"content": [{"type": "text", "text": text}, *parts]}))


def _image(name: object, folder: Path, where: str) -> Image:
    if not isinstance(name, str):
        raise TaskError(f"{where} is of type {type(name).__name__}, and an image is named by its path")
    says = f"{where} names {name!r}"
    try:
        path = (folder / name).resolve()
        inside, there = path.is_relative_to(folder.resolve()) and not Path(name).is_absolute(), path.is_file()
        head, size = _begins(path) if inside and there else (b"", 0)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise TaskError(f"{says}, which cannot be read: {why_unreadable(error)}") from None
    if not inside:
        raise TaskError(f"{says}: an image's path starts at the data file's folder, and stays in it")
    if not there:
        raise TaskError(f"{says}, and there is no file {path}")
    if size > LARGEST:
        raise TaskError(f"{says}, which has {size:,} bytes: an image may have {LARGEST:,}; make it smaller")
    kind = _kind(head)
    if kind is None:
        raise TaskError(f"{says}, which is no PNG, JPEG, GIF or WebP image, whatever its name is")
    return Image(name, path, kind)


def _begins(path: Path) -> tuple[bytes, int]:
    """A file's first bytes, and how many it has."""
    with path.open("rb") as file:
        return file.read(_HEAD), path.stat().st_size


def _kind(head: bytes) -> str | None:
    """The MIME type of what begins so."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    kinds = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
    return next((kind for magic, kind in kinds.items() if head.startswith(magic)), None)
