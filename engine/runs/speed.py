"""How fast the base model's servers were in a run, as a plan takes it."""

from metaspo.engine.config.plan import OPTIMIZER_SECONDS, Pace
from metaspo.engine.errors import ConfigError
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.stored import read_json

FEWEST = 50  # calls, below which a speed is luck


def measured_pace(run: RunDirectory) -> Pace:
    """From its last session: what its base model's lane answered while all places were taken or something was queued.

    Raises:
        ConfigError: where it made too few calls for that, as one whose answers came from the cache.
        RunDirectoryError: where its files cannot be read.
    """
    summary, live = read_json(run, part="summary"), read_json(run, part="live")
    lanes = summary.get("usage", {}).get("lanes", {})
    use, optimizer = lanes.get("base", {}), lanes.get("optimizer", {})
    lane = live.get("lanes", {}).get("base", {})
    calls, asked = use.get("calls", 0), optimizer.get("calls", 0)
    if calls < FEWEST or not use.get("completion_tokens"):
        raise ConfigError(
            f"{run.name}: {calls} calls of its base model were answered in its last session, and a speed wants "
            f"{FEWEST}: name a run that made some"
        )
    busy = max(summary["seconds"] - lane.get("idle_seconds", 0.0), 1e-3)
    return Pace(
        speed=use["completion_tokens"] / busy / max(1, len(lane.get("endpoints", ()))),
        prompt_tokens=use["prompt_tokens"] / calls,
        answer_tokens=use["completion_tokens"] / calls,
        optimizer_seconds=optimizer["server_seconds"] / asked
        if (asked := optimizer.get("calls"))
        else OPTIMIZER_SECONDS,
    )
