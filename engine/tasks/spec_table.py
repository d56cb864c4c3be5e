"""What the tables of a task keep to."""

import difflib
import re
from functools import cache
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator

from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.paths import usable_path
from metaspo.engine.tasks.kinds import Kinds, kinds_of, require_kind

PathText = Annotated[str, AfterValidator(usable_path)]
LARGEST: Final = 2**63 - 1  # that what a run writes down can hold
IMPORT_PATH: Final = late_pattern(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class SpecTable(BaseModel):
    """Unknown keys are refused, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_of_its_kind(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic takes true for 1, and "no" for false: a cap of `dollars = true` would be one dollar."""
        if info.field_name:
            require_kind(value, _kinds(cls, info.field_name))
        return value


@cache
def _kinds(table: type[BaseModel], key: str) -> Kinds:
    return kinds_of(table.model_fields[key].annotation)


def groups_in(pattern: str) -> int:
    """How many groups a regular expression has. Raises `ValueError` for what is none."""
    try:
        return re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None


def one_of(names: tuple[str, ...], given: str) -> str:
    """The names as a sentence lists them, with the one that may have been meant."""
    listed = ", ".join(f'"{name}"' for name in names)
    nearest = difflib.get_close_matches(given, names, n=1)
    return f'{listed} (did you mean "{nearest[0]}"?)' if nearest else listed
