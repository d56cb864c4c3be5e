"""What every table of a config keeps to."""

import re
from pathlib import Path

from pydantic import ConfigDict

from metaspo.engine.config.bounds import LONGEST_NAME
from metaspo.engine.tasks.spec_table import SpecTable


def name_of(path: Path) -> str:
    """What a file that says no name is called: its own name, with what a name may not hold left out."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:LONGEST_NAME]


class Table(SpecTable):
    """A table of the config; a key may begin with `model`."""

    model_config = ConfigDict(protected_namespaces=())
