"""What a user says of one model: where it is served, how hard it may be driven, what it costs."""

from collections.abc import Iterable, Sequence
from typing import cast

from metaspo.backends import Backend
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.lanes.lane_state import LaneState
from metaspo.scheduling.settings import LaneSettings

DEFAULTS = LaneSettings()
MEMBERS = ("name", "complete", "probe", "load", "aclose")  # of a backend


class Lane:
    """One model: its endpoints, limits and prices. A description; an open `Gateway` makes it go, one at a time.

    Attributes:
        standby: backends that are asked only what none of the others takes: while all of these rest (a limit that
            asks for more than 10 s rests its endpoint), and what they refuse or leave hanging.
        state: of the gateway that opened it last; None before the first.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[Backend],
        settings: LaneSettings = DEFAULTS,
        *,
        standby: Sequence[Backend] = (),
    ) -> None:
        """Raises `ValueError` for no backend, `TypeError` for what is none."""
        if not backends:
            raise ValueError(f"the lane {name!r} needs at least one backend")
        for backend in (*backends, *standby):
            if isinstance(backend, type):
                raise TypeError(f"a backend of the lane {name!r} is the class {backend.__name__}: make one of it")
            if lacks := [member for member in MEMBERS if not hasattr(backend, member)]:
                raise TypeError(
                    f"a backend of the lane {name!r} is no metaspo.backends.Backend: {backend!r} has no {lacks[0]}"
                )
        self.name = name
        self.backends = tuple(backends)
        self.standby = tuple(standby)
        self.settings = settings
        self.state: LaneState | None = None

    def __repr__(self) -> str:
        return f"<Lane {self.name!r} {', '.join(backend.name for backend in self.every_backend)}>"

    @property
    def every_backend(self) -> tuple[Backend, ...]:
        """Its backends, and what stands by."""
        return *self.backends, *self.standby

    @property
    def stopped(self) -> RunStopped | None:
        """Why nothing could be asked of it any more, in the gateway that opened it last; None if something could."""
        return self.state.verdicts.any if self.state is not None else None

    def require_free(self) -> None:
        """Raises `RuntimeError` while a gateway has it open."""
        if self.state is not None and not self.state.closed:
            raise RuntimeError(
                f"The lane {self.name!r} is open in another gateway: close that one first, or make a second Lane over"
                " backends of its own."
            )


def by_name(lanes: Iterable[Lane]) -> dict[str, Lane]:
    """Raises `ValueError` for two of one name, `TypeError` for what is no list of lanes."""
    given: object = lanes
    if isinstance(given, Lane) or not isinstance(given, Iterable):
        raise TypeError(f"lanes: give a list of metaspo.Lane; this is {given!r}")
    named: dict[str, Lane] = {}
    for lane in lanes:
        if not isinstance(cast(object, lane), Lane):
            raise TypeError(f"lanes: give a list of metaspo.Lane; in it is {lane!r}")
        if lane.name in named:
            raise ValueError(f"two lanes are named {lane.name!r}")
        named[lane.name] = lane
    return named
