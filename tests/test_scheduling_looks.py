"""What a look at an endpoint tells, as tables: what its health is then, when it is looked at again, and who is told."""

from itertools import permutations
from math import inf

import anyio
import pytest
from scheduling_world import Server, now
from test_scheduling_lane_state import ERRORS, Rig

from metaspo.backends import ServerInfo, TransientError
from metaspo.scheduling import ConcurrencyChanged, LaneSettings
from metaspo.scheduling.lanes.endpoints import FIRST_REST, LOAD_PERIOD, Endpoint, Health
from metaspo.scheduling.lanes.open_lane import PROBE_LIMIT, _look

NOW = 7.0
BUG = ZeroDivisionError("a mistake in the backend")
GAUGES = {"running": 4.0, "waiting": 2.0, "preemptions": 3.0}


def looked_at(health: Health) -> tuple[Rig, Endpoint]:
    """A lane with one request out and one waiting, and its endpoint while somebody looks at it."""
    rig = Rig()
    rig.happen("ask 1", 0)
    rig.happen("ask 2", 0)
    (endpoint,) = rig.state._endpoints.all
    endpoint.health = health
    rig.state._endpoints.look_next(endpoint, inf)
    return rig, endpoint


FAILED: list[tuple[Health, str, Health, float, str]] = [
    (Health.UP, "fault", Health.UP, LOAD_PERIOD, ""),
    (Health.UP, "denied", Health.UP, LOAD_PERIOD, ""),
    (Health.UP, "gone", Health.UP, LOAD_PERIOD, ""),
    (Health.UP, "rejected", Health.UP, LOAD_PERIOD, ""),
    (Health.UP, "bug", Health.UP, inf, ""),
    (Health.DOWN, "denied", Health.TRIAL, inf, ""),
    (Health.DOWN, "rejected", Health.TRIAL, inf, ""),
    (Health.DOWN, "fault", Health.DOWN, FIRST_REST, ""),
    (Health.DOWN, "gone", Health.DOWN, FIRST_REST, "abort 1"),
    (Health.DOWN, "bug", Health.DOWN, LOAD_PERIOD, "2 ZeroDivisionError"),
    (Health.COLD, "denied", Health.COLD, LOAD_PERIOD, "2 LaneStopped"),
    (Health.COLD, "rejected", Health.DOWN, FIRST_REST, ""),
    (Health.COLD, "fault", Health.DOWN, FIRST_REST, ""),
    (Health.COLD, "bug", Health.COLD, LOAD_PERIOD, "2 ZeroDivisionError"),
]


@pytest.mark.parametrize(("was", "error", "then", "again", "told"), FAILED)
def test_what_a_look_that_went_wrong_changes(was: Health, error: str, then: Health, again: float, told: str) -> None:
    """Who answers calls may be without gauges for a while; who answers a probe with a refusal is there."""
    rig, endpoint = looked_at(was)
    rig.state.looks.failed(endpoint, was, {**ERRORS, "bug": BUG}[error], NOW)
    assert (endpoint.health, endpoint.look_at, rig.take_done()) == (then, NOW + again, told)


WELL: list[tuple[Health, dict[str, float], Health, float]] = [
    (Health.UP, GAUGES, Health.UP, LOAD_PERIOD),
    (Health.UP, {}, Health.UP, LOAD_PERIOD),  # nothing was answered yet: some have gauges from the first call on
    (Health.COLD, {}, Health.UP, LOAD_PERIOD),
    (Health.DOWN, {}, Health.TRIAL, inf),
]


@pytest.mark.parametrize(("was", "gauges", "then", "again"), WELL)
def test_what_a_look_that_went_well_changes(was: Health, gauges: dict[str, float], then: Health, again: float) -> None:
    """Only who tells gauges, or may yet do so, is asked for them again."""
    rig, endpoint = looked_at(was)
    rig.state.looks.went_well(endpoint, was, gauges, NOW)
    assert (endpoint.health, endpoint.look_at, endpoint.load) == (then, NOW + again, gauges)


@pytest.mark.parametrize("error", ["", "fault", "denied", "gone", "bug"])
@pytest.mark.parametrize(("was", "now"), list(permutations(Health, 2)))
def test_a_look_tells_nothing_of_an_endpoint_that_has_changed_meanwhile(was: Health, now: Health, error: str) -> None:
    """A call has shown more."""
    rig, endpoint = looked_at(now)
    before = (endpoint.look_at, endpoint.load, len(rig.events), str(rig.state.verdicts.any))
    if error:
        rig.state.looks.failed(endpoint, was, {**ERRORS, "bug": BUG}[error], NOW)
    else:
        rig.state.looks.went_well(endpoint, was, GAUGES, NOW)
    assert (endpoint.look_at, endpoint.load, len(rig.events), str(rig.state.verdicts.any)) == before
    assert (endpoint.health, rig.take_done()) == (now, "")


def test_what_gauges_change_is_told() -> None:
    """As any other change of how many calls may be out."""
    rig = Rig(LaneSettings(concurrency="auto"))
    (endpoint,) = rig.state._endpoints.all
    for preemptions in (0.0, 2.0):
        rig.state.looks.went_well(endpoint, Health.UP, {**GAUGES, "preemptions": preemptions}, NOW)
    (change,) = rig.events
    assert isinstance(change, ConcurrencyChanged)
    assert (change.before, change.after, change.at) == (8, rig.state.statistics(NOW).concurrency, NOW)
    assert change.after < change.before


class Silent(Server):
    """Takes a probe, and never answers it."""

    async def probe(self) -> ServerInfo:
        await anyio.sleep_forever()
        raise AssertionError("for ever")


@pytest.mark.virtual
@pytest.mark.parametrize("health", [Health.DOWN, Health.TRIAL])
async def test_a_probe_that_is_not_answered_has_failed(health: Health) -> None:
    """After ten seconds, in words that name the server."""
    with pytest.raises(TransientError, match="silent did not answer a probe"):
        await _look(Endpoint(Silent("silent")), health)
    assert now() == PROBE_LIMIT
