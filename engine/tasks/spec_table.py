"""What the tables of a task keep to."""

import difflib
import re
from collections.abc import Iterator
from typing import Annotated, Final, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator

from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.paths import usable_path

PathText = Annotated[str, AfterValidator(usable_path)]
LARGEST: Final = 2**63 - 1  # that what a run writes down can hold
IMPORT_PATH: Final = late_pattern(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class SpecTable(BaseModel):
    """Unknown keys are refused, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic takes true for 1: a cap of `dollars = true` would be one dollar."""
        if isinstance(value, bool) and info.field_name:
            kinds = set(_kinds(cls.model_fields[info.field_name].annotation))
            if bool not in kinds and kinds & {int, float}:
                raise ValueError(f"must be a valid {'number' if float in kinds else 'integer'}")
        return value


def _kinds(annotation: object) -> Iterator[object]:
    """What a union, or whatever else is made of types, is made of."""
    inner = get_args(annotation)
    if not inner:
        yield annotation
    for each in inner:
        yield from _kinds(each)


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
