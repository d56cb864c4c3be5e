"""The servers of a plan, and how they change as time goes by."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from simulation_faults import FaultyServer
from simulation_ledger import Ledger
from simulation_plan import Fault, LaneName, Plan
from simulation_world import Said, SimulatedWorld

from metaspo.backends import Request
from metaspo.bench.servers.simulated_openai import SimulatedOpenAI
from metaspo.bench.servers.simulated_vllm import SimulatedVLLM
from metaspo.cache import request_key
from metaspo.engine.config.models import lane_settings


def make_servers(plan: Plan, world: SimulatedWorld, ledger: Ledger) -> list[FaultyServer]:
    """The base model's replicas, and the optimizer model's provider."""

    def text_of(request: Request) -> str:
        return world.said[request_key(request)][-1].text

    def faulty(lane: LaneName, inner: SimulatedVLLM | SimulatedOpenAI, replica: int) -> FaultyServer:
        return FaultyServer(
            lane,
            inner,
            _faults_of(plan, lane, replica),
            world,
            ledger,
            seed=plan.seed,
            missing_headers=plan.missing_headers,
            price=_price(plan, lane),
        )

    replicas = [SimulatedVLLM(text_of, plan.vllm, name=f"vllm-{number}") for number in range(plan.replicas)]
    provider = SimulatedOpenAI(text_of, plan.provider, name="provider")
    return [*(faulty("base", inner, number) for number, inner in enumerate(replicas)), faulty("optimizer", provider, 0)]


def plan_changes(plan: Plan, server: FaultyServer, *, note: Callable[[str], None]) -> None:
    """Have a server become slower or faster, and its limits change, when the plan says so."""
    loop = asyncio.get_running_loop()
    for fault in server.faults:
        if fault.kind in ("slow", "limits"):
            for when in (fault.start, fault.end):
                loop.call_at(when, _change, plan, server, when, note)


def _change(plan: Plan, server: FaultyServer, now: float, note: Callable[[str], None]) -> None:
    # The time is the planned one: an event loop may call a little before it, when a fault seems to last yet.
    slower = limits = 1.0
    for fault in server.faults:
        if fault.at(now):
            slower *= fault.factor if fault.kind == "slow" else 1.0
            limits *= fault.factor if fault.kind == "limits" else 1.0
    note(f"{server.inner.name}: {slower:g} times as slow, {limits:g} times the limits")
    match server.inner:
        case SimulatedVLLM() as vllm:
            vllm.change(replace(plan.vllm, step_seconds=plan.vllm.step_seconds * slower))
        case SimulatedOpenAI() as provider:
            model = plan.provider
            requests, tokens = model.requests_per_minute, model.tokens_per_minute
            changed = replace(
                model,
                first_seconds=model.first_seconds * slower,
                requests_per_minute=requests and max(1, int(requests * limits)),
                tokens_per_minute=tokens and max(1, int(tokens * limits)),
            )
            if changed != provider.model:
                provider.change(changed)


def _faults_of(plan: Plan, lane: str, replica: int) -> list[Fault]:
    return [fault for fault in plan.faults if fault.lane == lane and fault.replica in (None, replica)]


def _price(plan: Plan, lane: str) -> Callable[[Said], float]:
    prices = lane_settings(getattr(plan.configs[0], lane)).prices
    return lambda said: prices.dollars(said.usage) if prices is not None else 0.0
