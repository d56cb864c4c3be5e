"""What every table of a config keeps to."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict

from metaspo.cache import PASSWORD, check_location, holds_password
from metaspo.engine.config.bounds import LONGEST_NAME
from metaspo.engine.tasks.spec_table import SpecTable


def name_of(path: Path) -> str:
    """What a file that says no name is called: its own name, with what a name may not hold left out."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:LONGEST_NAME]


def _cache(value: str) -> str:
    if holds_password(value):
        raise ValueError(f"a config is no place for a password: leave it out and set {PASSWORD}")
    check_location(value)
    return value


CacheText = Annotated[str, AfterValidator(_cache)]


class Table(SpecTable):
    """A table of the config; a key may begin with `model`."""

    model_config = ConfigDict(protected_namespaces=())
