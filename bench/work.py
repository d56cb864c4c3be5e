"""The work of a run as stages: what has to be asked, and what has to wait for what."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from metaspo.backends import Completion, Request
from metaspo.bench.instant import InstantModel, OtherwiseAsked
from metaspo.bench.workload import answer
from metaspo.engine import Prepared
from metaspo.engine.api import optimize
from metaspo.engine.runtime import priorities
from metaspo.scheduling import Account, Lane, Priority


@dataclass(slots=True)
class Unit:
    """One candidate: optimizer calls one after the other, then evaluations in any order."""

    optimizer: list[Request] = field(default_factory=list)
    evaluations: list[Request] = field(default_factory=list)


Stage = list[Unit]  # independent of each other; all of them wait for all of the stage before


async def work_of(prepared: Prepared) -> list[Stage]:
    """What a run asks when its models answer as `workload.answer` does."""
    model = InstantModel(answer)
    recorder = _Recorder([Lane("base", [model]), Lane("optimizer", [model])])
    async with recorder:
        await optimize(prepared, gateway=recorder)
    return recorder.stages()


class _Recorder(OtherwiseAsked):
    """Notes what is asked, by the priorities it is asked with."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        super().__init__(lanes)
        self._units: dict[tuple[int, int], dict[Priority, Unit]] = {}

    async def complete(
        self, request: Request, *, lane: str, account: Account | None = None, priority: Priority = ()
    ) -> Completion:
        """As the gateway; optimizer calls."""
        iteration, phase, candidate, _, task, prompt = priorities.unchained(priority[2:])
        self._unit(iteration, phase, candidate, task, prompt).optimizer.append(request)
        return await super().complete(request, lane=lane, account=account, priority=priority)

    def asked(self, requests: Sequence[Request], priority: Priority) -> tuple[Sequence[Request], Priority]:
        """The same; evaluations are noted."""
        _, _, iteration, phase, _, task, prompt, candidate = priority
        if iteration in (0, priorities.LAST):  # no candidates, and no parts
            *_, task, prompt = priority
            candidate = 0
        self._unit(iteration, phase, candidate, task, prompt).evaluations.extend(requests)
        return requests, priority

    def stages(self) -> list[Stage]:
        """All that was noted, in the order in which a run comes to it."""
        return [[unit for _, unit in sorted(units.items())] for _, units in sorted(self._units.items())]

    def _unit(self, iteration: int, phase: int, candidate: int, task: int, prompt: int) -> Unit:
        if iteration == priorities.LAST:
            key: Priority = (task, prompt)
        else:
            key = (candidate,) if phase == priorities.OUTER else (candidate, task)
        return self._units.setdefault((iteration, phase), {}).setdefault(key, Unit())
