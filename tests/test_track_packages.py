"""A run in a real MLflow server on this machine, and in files of Weights & Biases; only where these are installed."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import apart, write_project
from test_track import DIGITS, WORLD, points_of, tracked_project
from world import World

from metaspo.engine.runs.directory import RunDirectory, find_runs
from metaspo.engine.runs.files import read_result

mlflow = pytest.importorskip("mlflow")
wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")
BLOCK = 32_768  # bytes
LIMIT = 120.0
Client = Any  # MLflow is not installed where the types are checked
pytestmark = pytest.mark.timeout(300)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of a server of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *stores]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(address, process)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(LIMIT)


def wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):  # noqa: S310 - the loopback
                return
        except OSError:
            time.sleep(0.2)  # another program's start: there is nothing else to wait for
    raise AssertionError("the MLflow server has not started")


def only_run(folder: Path) -> RunDirectory:
    (run,) = find_runs(folder / ".metaspo" / "runs")
    return run


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def client(address: str) -> Client:
    return mlflow.MlflowClient(tracking_uri=address, registry_uri=address)


def steps_of(history: Sequence[Any]) -> list[tuple[int, float]]:
    return [(metric.step, round(metric.value, DIGITS)) for metric in history]


def runs_in(client: Client, experiment: str) -> Sequence[Any]:
    there = client.get_experiment_by_name(experiment)
    found: Sequence[Any] = client.search_runs([there.experiment_id])
    return found


def test_a_real_server_has_scores_prompts_and_the_registered_ones_in_one_run_however_often_it_is_repeated(
    address: str,
    client: Client,
    tmp_path: Path,
) -> None:
    with ChatServer(WORLD.answer) as server:
        tracked_project(tmp_path, server.url, track=f'mlflow = "{address}"\nexperiment = "one"\nalias = "best"')
        for _ in range(2):
            ended = apart("--log", "json", "optimize", "run.toml", "--json", folder=tmp_path)
            assert (ended.code, ended.err.lower().count("mlflow")) == (0, 0), ended.err
            assert ended.data[0]["result"]["system_prompt"], "nothing but the result is on standard output"
    (there,) = runs_in(client, "one")
    run, run_id = only_run(tmp_path), there.info.run_id
    result = read_result(run)
    assert (there.info.status, there.info.run_name) == ("FINISHED", run.name)
    assert there.data.params["outer.candidates"] == "3"
    assert there.data.params["base.model"] == "answerer"
    history = client.get_metric_history(run_id, "train_score")
    assert sorted(steps_of(history)) == sorted(points_of(run))
    assert 0 < there.data.metrics["test/a/after"] <= 1
    kept = sorted(item.path for item in client.list_artifacts(run_id, "prompts/system"))
    last = client.download_artifacts(run_id, kept[-1], str(tmp_path))
    assert Path(last).read_text(encoding="utf-8") == result["system_prompt"]
    for task in ("a", "b", "unseen"):
        name = f"{run.name.rpartition('-')[0]}.{task}"
        prompt = client.get_prompt_version_by_alias(name, "best")
        assert prompt.version == 1, "the same prompts are no new version"
        assert prompt.template[0]["content"] == result["system_prompt"]
        assert "{{question}}" in prompt.template[1]["content"].replace(" ", "")


def test_a_run_that_is_stopped_goes_on_in_the_same_run_there(address: str, client: Client, tmp_path: Path) -> None:
    with ChatServer(WORLD.answer) as server:
        tracked_project(tmp_path, server.url, track=f'mlflow = "{address}"\nexperiment = "two"')
        assert apart("optimize", "run.toml", "--set", "budget.calls=60", folder=tmp_path).code == 3
        (stopped,) = runs_in(client, "two")
        assert stopped.info.status == "FAILED"
        assert apart("optimize", "run.toml", "--set", "budget.calls=100000", folder=tmp_path).code == 0
    (there,) = runs_in(client, "two")
    assert there.info.run_id == stopped.info.run_id
    assert there.info.status == "FINISHED"
    history = client.get_metric_history(there.info.run_id, "train_score")
    assert sorted((metric.step, round(metric.value, DIGITS)) for metric in history) == sorted(
        points_of(only_run(tmp_path))
    )


def test_a_server_that_is_not_there_is_said_once_and_stops_nothing_and_is_told_all_later(
    address: str,
    client: Client,
    tmp_path: Path,
) -> None:
    with ChatServer(World(3).answer) as server:
        write_project(tmp_path, server.url)
        text = (tmp_path / "run.toml").read_text()
        for url, told in (("http://127.0.0.1:9", 1), (address, 0)):
            (tmp_path / "run.toml").write_text(f'{text}\n[track]\nmlflow = "{url}"\nexperiment = "three"\n')
            ended = apart("optimize", "run.toml", folder=tmp_path)
            assert (ended.code, ended.err.count("MLflow")) == (0, told), ended.err
    (there,) = runs_in(client, "three")
    history = client.get_metric_history(there.info.run_id, "train_score")
    assert sorted((metric.step, round(metric.value, DIGITS)) for metric in history) == sorted(
        points_of(only_run(tmp_path))
    )


def test_weights_and_biases_keeps_an_offline_run_with_scores_and_prompts(tmp_path: Path) -> None:
    with ChatServer(WORLD.answer) as server:
        tracked_project(tmp_path, server.url, track='wandb = "tried"')
        for _ in range(2):
            ended = apart("optimize", "run.toml", folder=tmp_path, environment={"WANDB_MODE": "offline"})
            assert (ended.code, ended.err) == (0, ended.err.replace("Weights & Biases", ""))
    folders = list(only_run(tmp_path).path.glob("track/wandb/offline-run-*"))
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 1, "one run, whatever its sessions"
    records = [record for folder in folders for file in folder.glob("*.wandb") for record in recorded(file)]
    rows = [row_of(record) for record in records if record.WhichOneof("record_type") == "history"]
    scores = [(int(row["calls"]), round(float(row["train_score"]), DIGITS)) for row in rows if "train_score" in row]
    assert scores == points_of(only_run(tmp_path))
    prompts = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    assert {prompt.type for prompt in prompts} == {"prompt"}
    assert {prompt.name.rpartition("-")[2] for prompt in prompts} == {"system", "user.a", "user.b"}
    assert len({(prompt.name, *prompt.aliases) for prompt in prompts}) == len(prompts)


def recorded(file: Path) -> Iterator[Any]:
    """What is in a file of Weights & Biases."""
    for data in records_in(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        yield record


def row_of(record: Any) -> dict[str, Any]:  # noqa: ANN401 - as MLflow
    return {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}


def records_in(data: bytes) -> Iterator[bytes]:
    """A log of blocks: each piece has a checksum, a length and whether it is whole (1), first, middle or last (4)."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield parts
            parts = b""
