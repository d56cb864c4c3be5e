"""vLLM's servers as we start them: where, with what, how their deaths are told and mended, and that none is left.

The program is a stand-in (`fake_vllm`); `make vllm-check` does the same with the real one.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import anyio
import pytest
from fake_vllm import Behaviour, Installed, install
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import Answer, serving
from test_backends_local import wait_until_gone

from metaspo.backends import ConnectionLost, LocalServerFailed, Message, OpenAICompatible, Request, Unreachable
from metaspo.backends.managed import watchdog
from metaspo.backends.managed.gpus import gpus_there, share_out
from metaspo.backends.managed.last_words import last_words
from metaspo.backends.managed.vllm import VllmReplica, VllmSettings, free_port, vllm_replicas
from metaspo.backends.secrets import BLOT, without_held

MODEL = "owner/some-model"
HELLO = Request(model=MODEL, messages=(Message("user", "Say hello."),))


@asynccontextmanager
async def open_replica(replica: VllmReplica) -> AsyncIterator[VllmReplica]:
    try:
        yield replica
    finally:
        await replica.aclose()


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a function with a default
    """Puts the stand-in on the PATH."""

    def install_here(*plan: Behaviour) -> Installed:
        installed = install(tmp_path / "bin", *plan)
        monkeypatch.setenv("PATH", installed.path)
        return installed

    return install_here


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of clients that were closed."""
    addresses: list[str] = []

    class Noting(OpenAICompatible):
        async def aclose(self) -> None:
            addresses.append(self.base_url)
            await super().aclose()

    monkeypatch.setattr("metaspo.backends.managed.vllm.OpenAICompatible", Noting)
    return addresses


def replica(folder: Path, *, start_limit: float = 60.0, **more: Any) -> VllmReplica:  # noqa: ANN401
    return VllmReplica(VllmSettings(model=MODEL, start_limit=start_limit), logs=folder / "logs", **more)


async def answer(server: VllmReplica) -> str:
    return (await server.complete(HELLO, time_limit=30)).completion.text


async def die_and_come_back(server: VllmReplica) -> None:
    """It dies of one call more, and is there again once it was probed."""
    with pytest.raises(Unreachable):
        await answer(server)
    await server.probe()


RESTARTS = 1


@pytest.fixture(autouse=True)
def _soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaspo.backends.managed.vllm.RESTARTS", RESTARTS)


async def test_it_is_started_with_its_own_port_key_and_gpus(put: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """The key stands neither among the arguments nor in the log, its own or ours; calls and gauges go to it."""
    fake: Installed = put()
    async with open_replica(replica(tmp_path, gpus=("2", "GPU-7"))) as server:
        assert (await server.probe()).models == (MODEL,)
        assert (await server.load())["running"] == 3
        (start,) = fake.starts()
        assert await answer(server) == f"pid {start['pid']}"
    said = " ".join(start["arguments"])
    assert said.startswith(f"serve {MODEL} --served-model-name {MODEL} --host 127.0.0.1 --port {start['port']} ")
    assert "--enable-prefix-caching" in start["arguments"]
    assert start["gpus"] == "2,GPU-7"
    assert start["key"] not in said
    assert start["key"] not in server.log_path.read_text()
    assert without_held(f"it says {start['key']}") == f"it says {BLOT}"
    assert server.log_path == tmp_path / "logs" / "vllm-owner-some-model-0.log"
    await wait_until_gone(start["pid"])


def test_the_model_goes_where_the_command_says() -> None:
    """To the end of a command that says nothing, before the options."""
    plain = VllmSettings(model="m", tensor_parallel=2, options=("--seed", "1")).arguments(port=5)
    assert plain[:3] == ["vllm", "serve", "m"]
    assert plain[-2:] == ["--seed", "1"]
    assert plain[plain.index("--tensor-parallel-size") + 1] == "2"
    of_module = VllmSettings(model="m", command=("python", "-m", "server"), options=("--model", "{model}"))
    assert of_module.arguments(port=5)[:4] == ["python", "-m", "server", "--served-model-name"]
    assert of_module.arguments(port=5)[-2:] == ["--model", "m"]


async def test_a_missing_program_is_one_sentence_with_the_command(tmp_path: Path) -> None:
    settings = VllmSettings(model=MODEL, command=("no-such-vllm", "serve"))
    async with open_replica(VllmReplica(settings, logs=tmp_path)) as server:
        with pytest.raises(LocalServerFailed, match=r"no such program on the PATH: pip install vllm"):
            await server.start()


OOM = (
    "(EngineCore pid=7) ERROR 11-28 18:00:00 [core.py:800] Traceback (most recent call last):\n"
    "(EngineCore pid=7) ERROR 11-28 18:00:00 [core.py:800] torch.OutOfMemoryError: CUDA out of memory.\n"
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
)


async def test_one_that_dies_while_starting_is_told_by_its_own_words(
    put: Any,  # noqa: ANN401
    tmp_path: Path,
    closed: list[str],
) -> None:
    """The cause, not what only says that there is one; and where the log is. No connection to it is kept."""
    put({"say": OOM, "exit": 1})
    async with open_replica(replica(tmp_path)) as server:
        with pytest.raises(LocalServerFailed) as caught:
            await server.start()
    assert 'exit status 1), with the words "torch.OutOfMemoryError: CUDA out of memory."' in str(caught.value)
    assert str(server.log_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(closed) == 1


async def test_one_that_never_answers_is_ended_at_the_limit(put: Any, tmp_path: Path, closed: list[str]) -> None:  # noqa: ANN401
    fake: Installed = put({"hang": True})
    async with open_replica(replica(tmp_path, start_limit=1.0)) as server:
        with pytest.raises(LocalServerFailed, match="did not answer within 1 seconds"):
            await server.start()
        assert len(closed) == 1
        for start in fake.starts():
            await wait_until_gone(start["pid"])


async def test_a_port_that_another_program_took_is_left_to_it(put: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """The next one is tried."""
    fake: Installed = put()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = chain([taken := other.getsockname()[1]], iter(free_port, None))
        async with open_replica(replica(tmp_path, ports=lambda: next(ports))) as server:
            await server.start()
            assert server.pid is not None
            assert os.getpgid(server.pid) != os.getpgid(0), "Ctrl-C in the terminal does not reach it"
    assert [start["port"] == taken for start in fake.starts()] == [True, False]


async def test_one_that_died_is_started_again_while_its_calls_go_elsewhere(put: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Calls fail as those to a server that cannot be reached, until a probe finds it ready; the log goes on."""
    fake: Installed = put({"calls": 1}, {"say": "again"})
    async with open_replica(replica(tmp_path)) as server:
        first = await answer(server)
        with pytest.raises(Unreachable, match="died and is started again"):
            await answer(server)
        await server.probe()
        assert first != await answer(server)
    assert len(fake.starts()) == 2
    assert len({start["key"] for start in fake.starts()}) == 2
    assert "Starting vLLM" in server.log_path.read_text()
    assert "again" in server.log_path.read_text()


async def test_a_call_does_not_wait_for_one_that_is_started_again(put: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Also while its new process runs and has yet to get ready: there may be others."""
    fake: Installed = put({"calls": 0}, {"hang": True})
    async with open_replica(replica(tmp_path)) as server:
        await server.start()
        for _ in range(2):
            with pytest.raises(Unreachable, match="died and is started again"):
                await answer(server)
            while server.pid is None:
                await anyio.lowlevel.checkpoint()
        assert server.address is None
    assert len(fake.starts()) <= 2


async def test_a_call_that_hears_late_of_a_death_ends_no_server_that_has_been_started_since(
    put: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    """It goes again at once."""
    fake: Installed = put()
    async with open_replica(replica(tmp_path)) as server:
        await server.start()
        late = server._fallen()
        assert isinstance(late, ConnectionLost)
        assert late.before_answer
        assert await answer(server) == f"pid {fake.starts()[0]['pid']}"
    assert len(fake.starts()) == 1


async def test_one_that_is_closed_is_not_started_again_for_a_call_that_was_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would end that one."""
    asked = anyio.Event()

    def hang(_line: str) -> Answer:
        asked.set()
        return Answer(hang=True)

    async with serving(hang) as (upstream, _), open_replica(replica(tmp_path)) as server:
        fake = install(tmp_path / "bin", upstream=upstream)
        monkeypatch.setenv("PATH", fake.path)
        call = asyncio.create_task(answer(server))
        await asked.wait()
        await server.aclose()
        with pytest.raises(LocalServerFailed, match="closed while a call was out"):
            await call
        assert len(fake.starts()) == 1


async def test_one_that_was_closed_starts_with_the_next_call_and_has_died_of_nothing(put: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """As often as it is closed: a second gateway may be opened over the same lane."""
    fake: Installed = put()
    async with open_replica(replica(tmp_path)) as server:
        for number in range(RESTARTS + 2):
            assert await answer(server) == f"pid {fake.starts()[number]['pid']}"
            await server.aclose()


async def test_one_that_dies_too_often_is_given_up_with_its_words(put: Any, tmp_path: Path) -> None:  # noqa: ANN401
    fake: Installed = put({"calls": 0, "say": "RuntimeError: CUDA error: an illegal memory access"})
    async with open_replica(replica(tmp_path)) as server:
        await server.start()
        for _ in range(RESTARTS):
            await die_and_come_back(server)
        with pytest.raises(LocalServerFailed, match=f"died {RESTARTS + 1} times .* illegal memory access"):
            await answer(server)
        with pytest.raises(LocalServerFailed):
            await server.probe()
    assert len(fake.starts()) == RESTARTS + 1


@pytest.mark.slow
async def test_one_that_answers_for_long_between_its_deaths_is_started_again_as_often_as_it_takes(
    put: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metaspo.backends.managed.vllm.RENEWED", 2)
    fake: Installed = put({"calls": 2})
    async with open_replica(replica(tmp_path)) as server:
        await server.start()
        for _ in range(RESTARTS + 2):
            for _ in range(2):
                await answer(server)
            await die_and_come_back(server)
    assert len(fake.starts()) == RESTARTS + 3


async def test_one_that_answers_too_little_between_its_deaths_is_given_up(
    put: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metaspo.backends.managed.vllm.RENEWED", 2)
    put({"calls": 1})
    async with open_replica(replica(tmp_path)) as server:
        await server.start()
        for _ in range(RESTARTS):
            await answer(server)
            await die_and_come_back(server)
        await answer(server)
        with pytest.raises(LocalServerFailed, match="is not started again"):
            await answer(server)


@pytest.mark.slow
async def test_one_that_is_given_up_stops_nothing_as_long_as_there_is_another(put: Any, tmp_path: Path) -> None:  # noqa: ANN401
    put({"calls": 0}, {}, {"say": "ValueError: no", "exit": 1})
    dying, living = vllm_replicas(VllmSettings(model=MODEL), [["0"], ["1"]], logs=tmp_path)
    async with open_replica(dying), open_replica(living):
        await dying.start()
        await living.start()
        for _ in range(RESTARTS + 2):
            with pytest.raises(Unreachable):
                await answer(dying)
            with pytest.raises(Unreachable):
                await dying.probe()
        assert await answer(living)
        await living.aclose()
        with pytest.raises(LocalServerFailed):
            await answer(dying)


async def test_closing_ends_all_that_it_has_started_by_force_if_need_be(
    put: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also a child of its own, which would hold the GPU's memory."""
    monkeypatch.setattr("metaspo.backends.managed.vllm._GRACE", 0.2)
    fake: Installed = put({"stubborn": True})
    async with open_replica(replica(tmp_path)) as server:
        await server.start()
    (start,) = fake.starts()
    for pid in (start["pid"], *start["children"]):
        await wait_until_gone(pid)


PARENT = f"""
import anyio, sys
from pathlib import Path
from metaspo.backends.managed.vllm import VllmReplica, VllmSettings

async def main():
    await VllmReplica(VllmSettings(model="{MODEL}"), logs=Path(sys.argv[1])).start()
    print("started", flush=True)
    await anyio.sleep(600)

anyio.run(main)
"""


@pytest.mark.parametrize("victim", ["metaspo", "watchdog"])
async def test_it_dies_with_us_however_we_die(put: Any, tmp_path: Path, victim: str) -> None:  # noqa: ANN401
    """Killed with no chance to clean up, or the process between us."""
    fake: Installed = put()
    async with await anyio.open_process([sys.executable, "-c", PARENT, str(tmp_path)], stderr=None) as parent:
        assert parent.stdout is not None
        await parent.stdout.receive()
        (start,) = fake.starts()
        if victim == "watchdog":
            status = await anyio.Path(f"/proc/{start['pid']}/status").read_text()
            between = next(line for line in status.splitlines() if line.startswith("PPid:"))
            os.kill(int(between.split()[1]), signal.SIGKILL)
            await wait_until_gone(start["pid"])
        parent.kill()
    await wait_until_gone(start["pid"])


ENDED_AS_IT_STARTS = """
import os, runpy, signal, sys
from pathlib import Path

def end_parent():  # in the child, before anything of the watchdog's runs there
    Path(told).write_text(str(os.getpid()))
    parent = os.getppid()
    (held,) = (line for line in Path(f"/proc/{parent}/status").read_text().splitlines() if line.startswith("SigBlk:"))
    stays = number == "15" and int(held.split()[1], 16) >> 14 & 1
    os.kill(parent, int(number))
    while os.getppid() == parent and not stays:
        pass

watchdog, told, number = sys.argv[1:4]
os.register_at_fork(after_in_child=end_parent)
sys.argv = [watchdog, "5", "sleep", "60"]
runpy.run_path(watchdog, run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_command_is_not_left_though_its_watchdog_ends_in_the_moment_it_starts(
    tmp_path: Path, number: signal.Signals
) -> None:
    told = tmp_path / "pid"
    arguments = [watchdog.__file__, str(told), str(int(number))]
    async with await anyio.open_process([sys.executable, "-c", ENDED_AS_IT_STARTS, *arguments]) as around:
        assert await around.wait() == (143 if number == signal.SIGTERM else -9), "told, it waits for the command"
    await wait_until_gone(int(told.read_text()))


def test_a_command_that_cannot_be_started_is_told_to_the_server_s_log() -> None:
    command = [sys.executable, watchdog.__file__, "5", "/no/such/vllm", "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == watchdog.NOT_STARTED
    assert done.stderr == "/no/such/vllm: No such file or directory\n"


GPU_NAMES = st.text("0123456789GPU-abc", min_size=1).filter(lambda name: name != "-1")


@given(st.lists(GPU_NAMES, unique=True), st.integers(1, 5))
def test_each_gpu_is_one_replicas_at_most(gpus: list[str], each: int) -> None:
    """Every replica has as many as it wants, and as many replicas as that gives there are."""
    if len(gpus) < each and (gpus or each > 1):
        with pytest.raises(ValueError, match=f"tensor_parallel = {each}"):
            share_out(gpus, each=each)
        return
    shares = share_out(gpus, each=each)
    used = [gpu for share in shares for gpu in share]
    assert used == gpus[: len(used)]
    assert all(len(share) == each for share in shares) or not gpus
    assert len(gpus) - len(used) < each


@pytest.mark.parametrize(
    ("visible", "there"),
    [("0,1", ("0", "1")), (" 3 , GPU-8f", ("3", "GPU-8f")), ("", ()), ("-1", ()), ("1,-1,2", ("1",))],
)
def test_gpus_are_those_that_cuda_shows(visible: str, there: tuple[str, ...]) -> None:
    assert gpus_there({"CUDA_VISIBLE_DEVICES": visible, "PATH": ""}) == there


@pytest.mark.parametrize(
    ("script", "there"),
    [
        ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'; echo '  MIG 1g.10gb'; echo 'GPU 1: x'", ("0", "1")),
        ("echo 'No devices were found'", ()),
        ("echo 'GPU 0: NVIDIA'; exit 9", ()),
    ],
)
def test_or_those_that_nvidia_smi_lists(tmp_path: Path, script: str, there: tuple[str, ...]) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\n[ "$1" = -L ] || exit 1\n{script}\n')
    tool.chmod(0o700)
    assert gpus_there({"PATH": str(tmp_path)}) == there
    assert gpus_there({"PATH": ""}) == ()


@given(st.binary())
def test_last_words_are_one_line_that_can_be_shown(log: bytes) -> None:
    words = last_words(log)
    assert "\n" not in words
    assert "\x1b" not in words
    assert len(words) <= 301


def test_last_words_are_the_last_cause() -> None:
    killed = b"INFO 11-28 18:00:00 [a.py:1] Loading\nKilled\n"
    assert last_words(killed) == "Killed"
    assert last_words(killed, or_last_line=False) == ""
    usage = b"usage: vllm serve\nvllm serve: error: unrecognized arguments: --no\n"
    assert last_words(usage) == "vllm serve: error: unrecognized arguments: --no"
    assert (
        last_words(b"ValueError: first\nOSError: \x1b[31mm is no folder\x1b[0m\nINFO: bye") == "OSError: m is no folder"
    )
    refused = (
        b"pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        b"  Value error, User-specified max_model_len (9) is greater than it may be. [type=value_error]\n"
        b"    For further information visit https://errors.invalid\n"
    )
    assert last_words(refused).startswith("Value error, User-specified max_model_len (9) is greater than it may be.")
    assert "sk-" not in last_words(b"ValueError: bad token sk-abcdef123456")
    assert last_words(b"") == ""
