"""What a benchmark found: rows of figures, and what a reader must know to believe them."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

Figure = str | int | float | None
Row = Mapping[str, Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One scenario's outcome.

    Attributes:
        title: what was measured, in one line; says "simulated" where a simulated server or clock had a part in it.
        rows: figures by column; units are in the columns' names.
        parameters: what the simulated servers and the workload were, by name.
        notes: one sentence each.
    """

    scenario: str
    title: str
    rows: Sequence[Row]
    parameters: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def as_data(self) -> dict[str, Any]:
        """Plain data, with the machine it was found on."""
        return {**asdict(self), "machine": machine()}


def machine() -> dict[str, Figure]:
    """What figures of time depend on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "metaspo": version("metaspo"),
    }
