"""MLflow: scores over calls, prompts as text files of the run, those found in its prompt registry under an alias."""

import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.error import HTTPError

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from metaspo.engine.journal.history import Point
from metaspo.engine.track.tracker import Ending, Result, TrackedRun, Version

STATUS: Final[Mapping[Ending, str]] = {"finished": "FINISHED", "stopped": "FAILED", "interrupted": "KILLED"}
REACH: Final = 5.0  # seconds to find out whether a server is there: its client would try for minutes
LONGEST_PARAM: Final = 500
BATCH: Final = 500  # metrics that a server takes at once


class Mlflow:
    """One run on one server, or in one database."""

    name: Final = "MLflow"

    def __init__(self, place: str, *, experiment: str, alias: str) -> None:
        self.place = place
        self._experiment = experiment
        self._alias = alias
        self._run_id = ""
        self._client: MlflowClient | None = None

    def begin(self, run: TrackedRun, *, run_id: str) -> str:
        """See `Tracker`."""
        self._reach()
        client = self._client = MlflowClient(tracking_uri=self.place, registry_uri=self.place)
        if run_id:
            try:
                client.update_run(run_id, status="RUNNING")
            except MlflowException:  # somebody has deleted it
                run_id = ""
        self._run_id = run_id or self._run_id or self._create(client, run)
        if not run_id:  # of one that was created before, too, if its config could not be told then
            params = [Param(key, value[:LONGEST_PARAM]) for key, value in run.config.items()]
            client.log_batch(self._run_id, params=params)
        return self._run_id

    def _create(self, client: MlflowClient, run: TrackedRun) -> str:
        there = client.get_experiment_by_name(self._experiment)
        experiment = there.experiment_id if there else client.create_experiment(self._experiment)
        created: str = client.create_run(experiment, run_name=run.name, tags={"metaspo.run": run.name}).info.run_id
        return created

    def add(self, points: Sequence[Point], versions: Sequence[Version]) -> None:
        """See `Tracker`."""
        self._reach()
        self._log({(name, point.calls): value for point in points for name, value in _values(point).items()})
        for version in versions:
            self._opened.log_text(self._run_id, version.text, f"prompts/{version.kind}/{version.number:03}.txt")

    def end(self, how: Ending, result: Result, *, calls: int) -> None:
        """See `Tracker`."""
        self._reach()
        client = self._opened
        self._log({(name, calls): score for name, score in result.scores.items()})
        for prompt in result.prompts:
            registered = client.register_prompt(
                name=prompt["name"],
                template=list(prompt["template"]),
                commit_message=prompt["commit_message"],
                tags={**prompt["tags"], "mlflow_run": self._run_id},
                model_config=prompt["model_config"],
            )
            client.set_prompt_alias(registered.name, self._alias, registered.version)
        client.set_terminated(self._run_id, STATUS[how])

    @property
    def _opened(self) -> MlflowClient:
        assert self._client is not None, "begun first"
        return self._client

    def _log(self, values: Mapping[tuple[str, int], float]) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, calls) for (name, calls), value in values.items()]
        for start in range(0, len(metrics), BATCH):
            self._opened.log_batch(self._run_id, metrics=metrics[start : start + BATCH])

    def _reach(self) -> None:
        if self.place.startswith(("http://", "https://")):
            with (
                suppress(HTTPError),  # an answer: whether it takes runs is for its client to find out
                urllib.request.urlopen(f"{self.place.rstrip('/')}/health", timeout=REACH),  # noqa: S310 - as it says
            ):
                pass


def _values(point: Point) -> dict[str, float]:
    return {"train_score": point.score, "dollars": point.dollars, "run_seconds": point.seconds}
