"""What a local model is called, and what is known of it before its file is there.

A model is named by an embedded name (`local_models.toml`), the path of a GGUF file, or `owner/repo[:file.gguf]` on the
model hub.
"""

import hashlib
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from metaspo.backends.errors import ModelFileUnavailable
from metaspo.backends.paths import path_of

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
_MAX_THREADS = 8  # models this small do not get faster with more


@dataclass(frozen=True, slots=True)
class WheelPart:
    """A piece of a file: `member` of the wheel that satisfies `requirement`."""

    requirement: str
    member: str


class LocalModelFacts(BaseModel):
    """One embedded model. `size` in bytes; `parts` in order; `hub` as `owner/repo:file.gguf`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    title: str
    licence: str
    file: str
    size: int
    sha256: str
    hub: str
    parts: tuple[WheelPart, ...]


@cache
def local_models() -> Mapping[str, LocalModelFacts]:
    """The embedded models by name."""
    text = resources.files("metaspo.backends.managed").joinpath("local_models.toml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, LocalModelFacts]).validate_python(tomllib.loads(text)["models"])


def local_revision(model: str | Path) -> str:
    """What tells a local model's weights apart from others of the same name; nothing is fetched for it.

    The start of the file's SHA-256, for embedded models and files of your own; "" for names on the hub, whose
    repository is part of the name. Raises `ModelFileUnavailable` for a path where there is no GGUF file.
    """
    name = str(model)
    facts = local_models().get(name)
    if facts is not None:
        return facts.sha256[:16]
    if is_path(name):
        return hash_file(own_file(name))[:16]
    if parse_hub_name(name) is None:
        raise unknown(name, local_models())
    return ""


def local_size(model: str | Path) -> int | None:
    """Bytes of a local model's file; None for a name on the hub, which is not asked for it; nothing is fetched.

    Raises `ModelFileUnavailable` where there is no such model.
    """
    name = str(model)
    if (facts := local_models().get(name)) is not None:
        return facts.size
    if is_path(name):
        return own_file(name).stat().st_size
    if parse_hub_name(name) is None:
        raise unknown(name, local_models())
    return None


def is_path(name: str) -> bool:
    """Whether a model is named by a file of its own."""
    try:
        return (name.lower().endswith(".gguf") and ":" not in name) or path_of(name).is_file()
    except ValueError:
        return False


def unknown(name: str, catalogue: Mapping[str, LocalModelFacts]) -> ModelFileUnavailable:
    """The error for a name that is none of a model."""
    names = ", ".join(catalogue)
    return ModelFileUnavailable(
        f"There is no local model {name!r}: give one of {names}, the path of a GGUF file, or owner/repo:file.gguf."
    )


def own_file(name: str) -> Path:
    """That file. Raises `ModelFileUnavailable` where there is none, or another one."""
    try:
        path = path_of(name)
    except ValueError as error:
        raise ModelFileUnavailable(f"The model's file {name!r} {error}.") from None
    if not path.is_file():
        raise ModelFileUnavailable(f"There is no model file {path.absolute()}.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelFileUnavailable(f"{path} is not a GGUF file.")
    return path


def parse_hub_name(name: str) -> tuple[str, str] | None:
    """`owner/repo[:file.gguf]` as (repository, file or ""), None if it is no such name."""
    match = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)(?::(\w[\w./ -]*\.gguf))?", name)
    if match is None or ".." in name:
        return None
    return match[1], match[2] or ""


def hash_file(path: Path) -> str:
    """A file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_threads() -> int:
    """The threads that a local model gets where none are given: the cores we may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 2
    return min(cores, _MAX_THREADS)
