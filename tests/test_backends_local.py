"""The embedded model's server: starts when asked, is found dead and started again, and never outlives us."""

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from metaspo.backends import (
    FatalError,
    LocalModel,
    LocalServerFailed,
    Message,
    ModelFileUnavailable,
    OpenAICompatible,
    Progress,
    Request,
    RequestRejected,
    Sampling,
    Startable,
    read_raw_request,
)
from metaspo.backends.managed.started import note_end

SMALL = "smollm2"
HELLO = Request(model=SMALL, messages=(Message("user", "Say hello."),), sampling=Sampling(max_tokens=4))


async def wait_until_gone(pid: int) -> None:
    """By the kernel's own notice, not by looking again and again."""
    try:
        notice = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with anyio.fail_after(30):
            await anyio.wait_readable(notice)
    finally:
        os.close(notice)


def started(model: LocalModel) -> int:
    assert model.pid is not None
    return model.pid


async def test_a_missing_file_is_said_before_a_process_starts(tmp_path: Path) -> None:
    """The sentence is that of the file."""
    pytest.importorskip("xllamacpp")
    model = LocalModel(tmp_path / "none.gguf")
    with pytest.raises(ModelFileUnavailable):
        await model.complete(HELLO, time_limit=1)
    assert model.pid is None
    await model.aclose()


async def test_an_echo_of_the_prompt_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    """The model's server passes over the field, and its answer would be taken for what was asked."""
    request = read_raw_request("completions", {"model": "m", "prompt": "The sky", "echo": True, "logprobs": 1})
    with pytest.raises(RequestRejected, match="leave `echo` out"):
        await LocalModel(tmp_path / "none.gguf").complete(request, time_limit=1)


async def test_a_missing_package_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is fatal: no retry brings a package."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(LocalServerFailed, match=r"pip install 'metaspo\[local\]'") as caught:
        await LocalModel().probe()
    assert isinstance(caught.value, FatalError)


async def test_a_server_that_gives_up_points_to_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What llama.cpp had to say is in there, and no process is left."""
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("METASPO_CACHE_HOME", str(tmp_path))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    model = LocalModel(broken)
    with pytest.raises(LocalServerFailed) as caught:
        await model.start()
    assert str(model.log_path) in str(caught.value)
    assert "broken.gguf" in model.log_path.read_text()
    assert model.pid is None
    await model.aclose()


async def test_what_never_started_closes_quietly() -> None:
    """With nothing to show before."""
    model = LocalModel(SMALL)
    await model.aclose()
    assert await model.load() == {}
    assert model.address is None
    assert model.name == "local/smollm2"


class SlowSite:
    """Where model files come from: takes until it is let go, and then has none.

    Attributes:
        asked: how often a file was asked for; cancelled: how often nobody wanted it any more.
        came: somebody asks; go: it may answer.
    """

    def __init__(self) -> None:
        self.asked = self.cancelled = 0
        self.came, self.go = asyncio.Event(), asyncio.Event()

    async def fetch(self, model: str, *, progress: Progress | None) -> Path:
        self.asked += 1
        self.came.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise ModelFileUnavailable(f"There is no {model}.")


@pytest.fixture
def slow_site(monkeypatch: pytest.MonkeyPatch) -> SlowSite:
    """In place of the network."""
    pytest.importorskip("xllamacpp")
    site = SlowSite()
    monkeypatch.setattr("metaspo.backends.managed.local.fetch_model", site.fetch)
    return site


async def test_a_start_outlives_the_caller_it_began_with(slow_site: SlowSite) -> None:
    """Whoever asks next waits for the same start, and hears how it ended."""
    model = LocalModel(SMALL)
    assert isinstance(model, Startable), "so a lane starts it outside of its calls' time limit"
    for _ in range(3):
        impatient = asyncio.create_task(model.complete(HELLO, time_limit=1))
        await asyncio.sleep(0)  # it waits for the start now
        await slow_site.came.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
    others = [asyncio.create_task(call) for call in (model.complete(HELLO, time_limit=1), model.probe(), model.start())]
    slow_site.go.set()
    ends = await asyncio.gather(*others, return_exceptions=True)
    assert [type(end) for end in ends] == [ModelFileUnavailable] * 3
    assert (slow_site.asked, slow_site.cancelled) == (1, 0)
    with pytest.raises(ModelFileUnavailable):
        await model.start()
    assert slow_site.asked == 2, "a start that failed is not the last"
    await model.aclose()


async def test_closing_ends_a_start(slow_site: SlowSite) -> None:
    """With an error for who waits for it, who has not been cancelled."""
    model = LocalModel(SMALL)
    waiting = asyncio.create_task(model.start())
    await slow_site.came.wait()
    await model.aclose()
    assert slow_site.cancelled == 1
    with pytest.raises(LocalServerFailed, match="closed while"):
        await waiting


@pytest.mark.model
async def test_the_model_answers_tells_its_context_and_ends() -> None:
    """One start serves all; `aclose` leaves no process behind."""
    model = LocalModel(SMALL, context=512, parallel=2)
    try:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(model.start)
        first = await model.complete(HELLO, time_limit=60)
        second = await model.complete(HELLO, time_limit=60)
        assert first.completion.text == second.completion.text != ""
        assert first.completion.usage.completion_tokens == 4
        assert second.completion.usage.cached_tokens > 0, "equal prefixes are not computed again"
        assert "started 1 times" in repr(model)
        info = await model.probe()
        assert (info.models, info.context) == ((SMALL,), 512)
        assert await model.load() == {"running": 0.0, "waiting": 0.0}
        with pytest.raises(RequestRejected, match="context"):
            await model.complete(Request(model=SMALL, messages=(Message("user", "word " * 600),)), time_limit=60)
        pid = started(model)
    finally:
        await model.aclose()
    await wait_until_gone(pid)
    await model.aclose()


@pytest.mark.model
async def test_a_server_found_dead_is_started_again() -> None:
    """All callers of that moment get their answers from the one new server."""
    model = LocalModel(SMALL, context=512)
    texts: list[str] = []

    async def ask() -> None:
        texts.append((await model.complete(HELLO, time_limit=60)).completion.text)

    try:
        await model.start()
        os.kill(started(model), signal.SIGKILL)
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(ask)
        assert len(texts) == 4
        assert "started 2 times" in repr(model)
    finally:
        await model.aclose()


PARENT = """
import anyio, json, os, signal, sys
from metaspo.backends import LocalModel

async def main():
    model = LocalModel("smollm2", context=512)
    await model.start()
    print(json.dumps({"pid": model.pid, "address": model.address}), flush=True)
    await anyio.sleep(600)

anyio.run(main)
"""


@pytest.mark.model
async def test_the_server_dies_with_us_however_we_die() -> None:
    """Killed with no chance to clean up; its key was in no argument."""
    async with await anyio.open_process([sys.executable, "-c", PARENT], stderr=None) as parent:
        assert parent.stdout is not None
        pid = json.loads(await parent.stdout.receive())["pid"]
        arguments = await anyio.Path(f"/proc/{pid}/cmdline").read_text()
        assert len(arguments.rstrip("\0").split("\0")) == 3, "the interpreter, -P and the file"
        parent.kill()
    await wait_until_gone(pid)


@pytest.mark.model
async def test_ctrl_c_in_the_terminal_does_not_reach_the_server() -> None:
    """It belongs to a session of its own, so that calls under way can finish before `aclose`."""
    model = LocalModel(SMALL, context=512)
    try:
        await model.start()
        assert os.getpgid(started(model)) != os.getpgid(0)
    finally:
        await model.aclose()


async def test_a_start_that_failed_when_nobody_waited_any_more_is_no_mistake_of_the_program() -> None:
    """Nor is one that was cancelled."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    async def fail(error: BaseException) -> OpenAICompatible:
        raise error

    for error in (LocalServerFailed("no"), asyncio.CancelledError()):
        start = asyncio.create_task(fail(error))
        start.add_done_callback(note_end)
        await asyncio.wait({start})
        await asyncio.sleep(0)
        del start
    gc.collect()
    assert told == []
