"""How long runs take, and what they cost, by how many replicas of the base model and by which usage tier.

Hours are a range. At least: the model that has the most to do works all the time, its provider counts no tokens but
those that are used, and no run is faster than its rounds, one after the other, let it. At most: the provider counts
whatever a call declares, the models wait for each other, and the rounds of runs that go on together, too. All calls are
counted that may be made.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.models import lane_settings
from metaspo.engine.config.plan import (
    BASE_SECONDS,
    SERVERS,
    LanePlan,
    Pace,
    Plan,
    limit_minutes,
    plan_calls,
)
from metaspo.engine.money import total
from metaspo.engine.studies.needs import Need

MINUTES: Final = 60  # of an hour
STEPS: Final = 2  # calls of the optimizer model, one after the other, before a candidate can be scored


@dataclass(frozen=True, slots=True, kw_only=True)
class AtScale:
    """What all of it takes with so many replicas, on a tier.

    Attributes:
        tier: None for that of the config.
        least, most: hours.
        dollars: of calls that are paid for; None where a price is not known.
        gpus: of all replicas together; 0 where no server of one's own is asked.
        gpu_dollars: of an hour of one GPU; None where it is not said.
    """

    replicas: int
    tier: int | None
    least: float
    most: float
    dollars: float | None
    gpus: int
    gpu_dollars: float | None = None

    @property
    def cost(self) -> tuple[float, float] | None:
        """Dollars at least and at most, GPUs included; None where one of them is not known."""
        if self.dollars is None or self.gpu_dollars is None:
            return None
        hour = self.gpus * self.gpu_dollars
        return self.dollars + self.least * hour, self.dollars + self.most * hour

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "replicas": self.replicas,
            "tier": self.tier,
            "hours": [self.least, self.most],
            "dollars": self.dollars,
            "gpu_hours": [self.least * self.gpus, self.most * self.gpus],
            "cost": self.cost and list(self.cost),
        }


def at_scales(
    needs: Sequence[Need],
    *,
    replicas: Iterable[int],
    tiers: Sequence[int | None],
    pace: Pace,
    parallel: int,
    gpu_dollars: float | None = None,
) -> list[AtScale]:
    """Every number of replicas on every tier; `parallel` runs go on at a time.

    Raises:
        ConfigError: for a tier that a model's facts do not know.
        ModelFileUnavailable: for a local model that there is not.
    """
    rounds = [_rounds_alone(need, pace) for need in needs]
    in_a_row = max(sum(rounds) / min(parallel, len(rounds)), *rounds)
    plans = [(need, plan_calls(need.config, need.tasks, need.calls, pace=pace)) for need in needs]
    dollars, gpus = total(plan.dollars for _, plan in plans), max(_gpus(need.config.base) for need in needs)
    scales = []
    for tier, count in product(tiers, replicas):
        busy, slow = _by_model(plans, replicas=count, tier=tier)
        scales.append(
            AtScale(
                replicas=count,
                tier=tier,
                least=max(*busy.values(), *rounds) / MINUTES,
                most=(sum(slow.values()) + in_a_row) / MINUTES,
                dollars=dollars,
                gpus=count * gpus,
                gpu_dollars=gpu_dollars,
            )
        )
    return scales


def _by_model(
    plans: Iterable[tuple[Need, Plan]], *, replicas: int, tier: int | None
) -> tuple[dict[str, float], dict[str, float]]:
    """Minutes that each model works for all, at least and at most: it is the same wherever it is named."""
    busy: defaultdict[str, float] = defaultdict(float)
    slow = busy.copy()
    for need, plan in plans:
        for role, lane in plan.lanes.items():
            servers = replicas if lane.model == need.config.base.model else 1
            quickest, slowest = _minutes(lane, need.config.models[role], replicas=servers, tier=tier)
            busy[lane.model] += quickest
            slow[lane.model] += slowest
    return busy, slow


def _minutes(lane: LanePlan, table: ModelTable, *, replicas: int, tier: int | None) -> tuple[float, float]:
    """What a model takes with so many servers, if it has some, and on a tier, if it has one: at least and at most."""
    on_tier = table.backend == "openai" and tier is not None
    settings = lane_settings(table.model_copy(update={"tier": tier}) if on_tier else table)
    server = lane.server_minutes / (replicas if table.backend in SERVERS else 1)
    least, most = (
        max(server, limit_minutes(settings, calls=lane.calls, tokens=tokens))
        for tokens in (lane.least_tokens, lane.most_tokens)
    )
    return least, most


def _gpus(table: ModelTable) -> int:
    """Of one replica, as far as a config tells."""
    return table.vllm.tensor_parallel if table.backend in SERVERS else 0


def _rounds_alone(need: Need, pace: Pace) -> float:
    """Minutes that a run's rounds take one after the other, however many servers there are."""
    config, searched = need.config, need.calls.inner + need.calls.outer
    if not searched:
        return BASE_SECONDS / MINUTES
    once = count_calls(config.model_copy(update={"iterations": 1, "train_calls": None}), need.tasks)
    iterations = searched / max(1, once.inner + once.outer)
    loops = (once.inner > 0) + (once.outer > 0)
    asked = STEPS * pace.optimizer_seconds if config.optimizer is not None and need.calls.optimizer else 0.0
    return (iterations * loops * (asked + BASE_SECONDS) + 2 * BASE_SECONDS) / MINUTES
