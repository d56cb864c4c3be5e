"""How fast the base model's servers were in a run, as a plan takes it."""

from metaspo.backends.counted import counted
from metaspo.engine.config.plan import OPTIMIZER_SECONDS, Pace
from metaspo.engine.errors import ConfigError
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import read_json
from metaspo.engine.runs.stored import summary_of
from metaspo.scheduling.statistics import LaneUse

FEWEST = 50  # calls, below which a speed is luck


def measured_pace(run: RunDirectory) -> Pace:
    """From its last session: what its base model's lane answered while all places were taken or something was queued.

    Raises:
        ConfigError: where it made too few calls for that, as one whose answers came from the cache.
        RunDirectoryError: where its files cannot be read.
    """
    summary = summary_of({"summary": read_json(run, part="summary"), "directory": str(run.path)})
    lanes = summary.usage.lanes if summary else {}
    use, optimizer = lanes.get("base", LaneUse()), lanes.get("optimizer", LaneUse())
    lane = read_json(run, part="live").get("lanes", {}).get("base", {})
    calls, seconds = use.calls, summary.seconds if summary else 0.0
    if calls < FEWEST or not use.completion_tokens or not seconds:
        raise ConfigError(
            f"{run.name}: its last session had {counted(calls, 'answer')} of its base model in {seconds:.1f} s, and a "
            f"speed wants {FEWEST} and their time: name a run that made some"
        )
    busy = max(seconds - lane.get("idle_seconds", 0.0), 1e-3)
    replicas = sum(not endpoint.get("standby") for endpoint in lane.get("endpoints", ()))
    return Pace(
        speed=use.completion_tokens / busy / max(1, replicas),
        prompt_tokens=use.prompt_tokens / calls,
        answer_tokens=use.completion_tokens / calls,
        optimizer_seconds=optimizer.server_seconds / optimizer.calls if optimizer.calls else OPTIMIZER_SECONDS,
        optimizer_prompt_tokens=optimizer.prompt_tokens / optimizer.calls if optimizer.calls else None,
        optimizer_answer_tokens=optimizer.completion_tokens / optimizer.calls if optimizer.calls else None,
    )
