"""What every table of a config keeps to."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

LARGEST = 2**63 - 1  # that a journal holds, and whoever reads it
LONGEST_NAME = 200  # with what is put around it, within the 255 bytes of a file's name
MOST = 1_000_000  # of what is counted in a run: more is a slip, and could not even be planned
MAX_CALLS = 10**12  # that are planned for


def name_of(path: Path) -> str:
    """What a file that says no name is called: its own name, with what a name may not hold left out."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:LONGEST_NAME]


class Table(BaseModel):
    """A table of the config: unknown keys are refused, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
