"""Compares mathematical expressions in a process of its own, which its own clock of CPU time ends.

Run by path, so that it imports the library alone. One JSON list [right answer, prediction, seconds] a line in, one
"1" (equal), "0" (different) a line out.
"""

import json
import logging
import signal
import sys

from math_verify import parse, verify
from math_verify.parser import LatexExtractionConfig

MAX_MEMORY = 4 << 30


def equal(answer: str, prediction: str) -> bool:
    """Whether two expressions are the same; False where one of them cannot be read. "x = 5" is answered by "5"."""
    sides = [
        parse(rf"$\boxed{{{side}}}$", extraction_config=[LatexExtractionConfig()], parsing_timeout=None)
        for side in (answer, prediction)
    ]
    return all(sides) and bool(verify(*sides, timeout_seconds=None))


def main() -> None:
    """Answer until the input ends, or until one comparison has taken its CPU time: then the signal ends the process."""
    logging.disable()
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        right, given, seconds = json.loads(line)
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            same = equal(right, given)
        except Exception:  # noqa: BLE001 - whatever the library cannot compare is not shown to be equal
            same = False
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write("1\n" if same else "0\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
