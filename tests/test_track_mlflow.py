"""What is asked of MLflow's client, whichever it is: a stand-in takes its place where MLflow is not installed."""

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from metaspo.engine.track.tracker import TrackedRun

RUN = TrackedRun(name="r", config={"seed": "1"}, folder=Path())


class Service:
    """MLflow's client, which takes a config only when it is asked a third time."""

    def __init__(self) -> None:
        self.created: list[str] = []
        self.taken: list[tuple[str, int]] = []
        self.refusals = 2

    def client(self, **_where: str) -> "Service":
        return self

    def get_experiment_by_name(self, name: str) -> Any:  # noqa: ANN401 - MLflow's own types are not there
        return SimpleNamespace(experiment_id=name)

    def create_run(self, experiment: str, **_about: object) -> Any:  # noqa: ANN401
        self.created.append(f"{experiment}-{len(self.created)}")
        return SimpleNamespace(info=SimpleNamespace(run_id=self.created[-1]))

    def log_batch(self, run_id: str, *, params: list[object]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("not now")
        self.taken.append((run_id, len(params)))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def tracker(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the tracker, upon the stand-in."""
    contents: dict[str, dict[str, object]] = {
        "mlflow": {"MlflowClient": service.client},
        "mlflow.entities": {"Metric": tuple, "Param": lambda *of: of},
        "mlflow.exceptions": {"MlflowException": Exception},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "metaspo.engine.track.mlflow", raising=False)
    yield importlib.import_module("metaspo.engine.track.mlflow")
    sys.modules.pop("metaspo.engine.track.mlflow", None)


def test_a_begin_that_fails_and_is_tried_again_begins_one_run(tracker: Any, service: Service) -> None:  # noqa: ANN401
    mlflow = tracker.Mlflow("sqlite:///a.db", experiment="e", alias="a")
    for _ in range(2):
        with pytest.raises(OSError, match="not now"):
            mlflow.begin(RUN, run_id="")
    assert mlflow.begin(RUN, run_id="") == "e-0"
    assert (service.created, service.taken) == (["e-0"], [("e-0", 1)])


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [200, 307, 401, 404, 503])
def test_a_server_that_answers_whatever_it_says_is_there(tracker: Any, service: Service, status: int) -> None:  # noqa: ANN401
    service.refusals = 0
    with answering(status) as place:
        assert tracker.Mlflow(place, experiment="e", alias="a").begin(RUN, run_id="") == "e-0"


def test_a_server_that_does_not_answer_is_not_there(tracker: Any, service: Service) -> None:  # noqa: ANN401
    with pytest.raises(OSError, match="refused"):
        tracker.Mlflow("http://127.0.0.1:9", experiment="e", alias="a").begin(RUN, run_id="")
    assert not service.created
