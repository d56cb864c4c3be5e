"""What the tables of a task keep to."""

import difflib
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

from metaspo.backends.paths import usable_path

PathText = Annotated[str, AfterValidator(usable_path)]
LARGEST: Final = 2**63 - 1  # that what a run writes down can hold
IMPORT_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class SpecTable(BaseModel):
    """Unknown keys are refused, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def one_of(names: tuple[str, ...], given: str) -> str:
    """The names as a sentence lists them, with the one that may have been meant."""
    listed = ", ".join(f'"{name}"' for name in names)
    nearest = difflib.get_close_matches(given, names, n=1)
    return f'{listed} (did you mean "{nearest[0]}"?)' if nearest else listed
