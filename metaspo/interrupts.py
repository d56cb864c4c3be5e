"""What interrupts a command. It imports next to nothing, being there before all the rest is imported."""

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A Ctrl-C, and what a system sends instead."""


def heard() -> list[signal.Signals]:
    """Those that are not to be ignored, as they are under nohup and in the background of a script."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
