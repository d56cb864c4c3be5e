"""Stopping a run from its page, as Ctrl-C in its terminal does."""

import os
import signal
import socket

from metaspo.engine.runs.status import session_of
from metaspo.engine.watch.follower import Follower


def process_of(follower: Follower) -> tuple[int, signal.Signals] | None:
    """The process of the session that goes on, and the signal that it hears; None where there is none here.

    What an earlier session left says nothing: its number may be another process's by now.
    """
    live, run = follower.part("live"), follower.run
    if not run.in_use or live.get("host") != socket.gethostname():
        return None
    config, summary = follower.part("config"), follower.part("summary")
    session = session_of(run, follower.view, running=True, config=config, summary=summary)
    pid, name = live.get("pid"), live.get("stopped_by")
    if session is None or not isinstance(pid, int) or pid < 2 or live.get("wall", 0.0) < session.since:
        return None
    return (pid, signal.Signals[name]) if name in ("SIGINT", "SIGTERM") else None


def stop(follower: Follower) -> str:
    """Send the signal; why it cannot be sent, "" if it was."""
    process = process_of(follower)
    if process is None:
        return "this run does not go on on this machine; press Ctrl-C where it does"
    try:
        os.kill(*process)
    except OSError as error:
        return f"its process cannot be reached: {error.strerror}"
    return ""
