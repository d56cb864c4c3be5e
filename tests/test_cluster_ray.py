"""A real Ray cluster of two nodes on this machine: cells on both, a node that is lost, Ctrl-C, mistakes."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import BAD_KEY, ChatServer
from command_line import EXHAUSTIVE, Ended, here, write_project
from real_redis import RealRedis, real_redis
from world import World

ray = pytest.importorskip("ray", reason="needs ray: make adapters")
WORLD = World(3, malformed=0.1)
GRID = 'config = "run.toml"\nseeds = [1, 2]\nmethods = ["default", "metaspo"]\n'
LIMIT = 240.0
DOOR = 28461  # of clients that are on no node
pytestmark = [  # Ray leaves files open
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs nothing, and one node of one core; a test may add others."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.2", "include_dashboard": False}
        | {"ray_client_server_port": DOOR},
    )
    made.add_node(num_cpus=1, node_ip_address="127.0.0.3")
    yield made
    made.shutdown()


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    with real_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, store: RealRedis) -> Path:
    write_project(tmp_path, server.url, head=f'{EXHAUSTIVE}\ncache = "{store.url}"')
    (tmp_path / "grid.toml").write_text(GRID, encoding="utf-8")
    return tmp_path


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "metaspo", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=LIMIT)
    return Ended(process.returncode, out, err)


def alone(folder: Path, server: ChatServer) -> Any:  # noqa: ANN401 - whatever the command printed
    """The same comparison in one process, elsewhere and with a cache of its own."""
    write_project(folder, server.url)
    (folder / "grid.toml").write_text(GRID, encoding="utf-8")
    return end(start("compare", "grid.toml", "--quiet", "--json", folder=folder)).data


def kept(store: RealRedis) -> int:
    """Answers in the shared cache."""
    entries: int = here("cache", "info", "--cache", store.url, "--json").data["entries"]
    return entries


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - whatever the commands printed
    return all(one["tables"][name] == other["tables"][name] for name in ("scores", "against", "seeds", "tasks"))


def test_cells_on_two_nodes_come_to_the_tables_of_one_process(
    cluster: Any,  # noqa: ANN401 - one of Ray's
    project: Path,
    server: ChatServer,
    store: RealRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.4")
    ended = end(start("compare", "grid.toml", "--on", cluster.address, "--json", folder=project))
    cluster.remove_node(second)
    assert ended.code == 0, ended.err
    assert ended.err.count(": done on ") == 4
    assert server.calls - kept(store) <= 3  # all share the cache; a call may be broken off as late
    runs = {path.name.rsplit("-", 1)[0] for path in (project / ".metaspo/runs").glob("grid.metaspo*")}
    assert runs == {"grid.metaspo.seed1", "grid.metaspo.seed2"}
    assert same(ended.data, alone(tmp_path_factory.mktemp("alone"), server))


def test_the_cells_of_a_lost_node_are_finished_on_another_from_the_cache(
    cluster: Any,  # noqa: ANN401 - one of Ray's
    project: Path,
    server: ChatServer,
    store: RealRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.4")
    server.hold_after(40)
    process = start("compare", "grid.toml", "--on", cluster.address, "--json", folder=project)
    server.wait_for(asked=42, answered=40)
    cluster.remove_node(second, allow_graceful=False)
    server.release()
    ended = end(process)
    assert ended.code == 0, ended.err
    assert server.calls - kept(store) <= 8  # what was under way on the node that was lost
    assert same(ended.data, alone(tmp_path_factory.mktemp("alone"), server))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_ctrl_c_or_what_a_system_sends_the_same_command_goes_on(
    cluster: Any,  # noqa: ANN401 - one of Ray's
    project: Path,
    server: ChatServer,
    number: signal.Signals,
) -> None:
    address = f"ray://127.0.0.2:{DOOR}" if number == signal.SIGINT else cluster.address
    server.hold_after(30)
    process = start("optimize", "run.toml", "--on", address, folder=project)
    server.wait_for(asked=31, answered=30)
    process.send_signal(number)
    ended = end(process)
    assert ended.code == 130, ended.err
    assert "1/1 run: interrupted on " in ended.err
    assert all(word not in ended.err for word in ("SIGTERM", "not finished")), "Ray's own words, and twice the same"
    server.wait_until_clients_hung_up()  # nothing goes on there
    server.release()
    again = end(start("optimize", "run.toml", "--on", cluster.address, "--json", folder=project))
    assert again.code == 0, again.err
    (run,) = again.data
    assert run["result"]["system_prompt"]


def test_a_cluster_that_is_not_there_is_told_in_one_sentence(project: Path, server: ChatServer) -> None:
    ended = end(start("optimize", "run.toml", "--on", "ray://127.0.0.2:1", folder=project))
    assert ended.code == 2, ended.err
    assert "the cluster cannot be reached" in ended.errors[0]
    assert server.calls == 0


def test_why_a_part_has_no_result_is_told_with_its_name_once(
    cluster: Any,  # noqa: ANN401 - one of Ray's
    project: Path,
    server: ChatServer,
) -> None:
    server.refuse = lambda _request, _before: BAD_KEY
    ended = end(start("optimize", "run.toml", "--on", cluster.address, folder=project))
    assert ended.code == 3, ended.err
    assert re.search(r"^1/1 run: not finished on \S+: 127\.0\.0\.1:\d+ refuses access", ended.err, re.MULTILINE)
    assert ended.errors[0].startswith("run: 127.0.0.1:")


def test_a_cluster_without_a_core_is_told_of_while_it_is_waited_for(
    cluster: Any,  # noqa: ANN401 - one of Ray's
    project: Path,
) -> None:
    (only,) = cluster.worker_nodes
    cluster.remove_node(only)
    process = start("optimize", "run.toml", "--on", cluster.address, folder=project)
    try:
        assert process.stderr is not None
        assert "warning: no node of the cluster has a core" in process.stderr.readline()
    finally:
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.3")
        ended = end(process)
    assert ended.code == 0, ended.err


def test_no_key_is_in_what_a_cluster_keeps(cluster: Any, project: Path) -> None:  # noqa: ANN401 - one of Ray's
    (project / ".env").write_text("OPENAI_API_KEY=sk-very-secret-indeed\n", encoding="utf-8")
    ended = end(start("optimize", "run.toml", "--on", cluster.address, folder=project))
    assert ended.code == 0, ended.err
    folders = Path(cluster.head_node.get_session_dir_path())
    kept = [path for path in folders.rglob("*") if path.is_file() and b"sk-very-secret" in path.read_bytes()]
    assert kept == []
