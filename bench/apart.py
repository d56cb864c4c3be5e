"""Measurements in a process of their own: what one measurement leaves in memory is no part of the next."""

import subprocess
import sys

import orjson

from metaspo.bench.report import Row

LIMIT = 7200.0  # seconds for one of them


def measured_apart(module: str, *arguments: str | int) -> Row:
    """The row that a new process prints, as JSON, when it calls the module's `main` with these arguments.

    Raises `subprocess.SubprocessError` if it fails, or takes more than two hours.
    """
    program = f"from {module} import main; main()"
    command = [sys.executable, "-P", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LIMIT)  # noqa: S603  # our own words
    row: Row = orjson.loads(done.stdout)
    return row
