"""What every table of a config keeps to."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from metaspo.engine.config.bounds import LONGEST_NAME


def name_of(path: Path) -> str:
    """What a file that says no name is called: its own name, with what a name may not hold left out."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:LONGEST_NAME]


class Table(BaseModel):
    """A table of the config: unknown keys are refused, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, protected_namespaces=())
