"""Runs what a store goes through as a process of its own, so that its limits and rights are its own too."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = str(Path(__file__).parent)
PREAMBLE = """
import asyncio, os, resource, sys
from pathlib import Path
from metaspo.cache import DiskStore, FallbackStore, StoreError
from metaspo.cache.testing import make_entry, make_key
folder = Path(sys.argv[1])

async def put(store, number):
    try:
        await store.put(make_key(number), make_entry("x" * 20_000))
    except StoreError as error:
        return str(error)
"""


def run_script(script: str, *arguments: object) -> str:
    """What a Python script, run as a process of its own, writes to its standard output."""
    command = [sys.executable, "-c", PREAMBLE + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": TESTS}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_in(folder: Path) -> set[str]:
    """The names of what is in a folder."""
    return {path.name for path in folder.iterdir()}
