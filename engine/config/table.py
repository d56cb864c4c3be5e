"""What every table of a config keeps to."""

from pydantic import BaseModel, ConfigDict

LARGEST = 2**63 - 1  # that a journal holds, and whoever reads it
LONGEST_NAME = 200  # with what is put around it, within the 255 bytes of a file's name
MOST_CALLS = 10**12
MOST = 1_000_000  # of what is counted in a run: more is a slip, and could not even be planned


class Table(BaseModel):
    """A table of the config: unknown keys are refused, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
