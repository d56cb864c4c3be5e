"""What a run loses to calls that hang for ever, on simulated servers: time and calls, beside the same run without any.

Everything runs on virtual time, so figures are the same on every machine, to the digit.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import fmean, median

import anyio

from metaspo.backends import Backend, Reply, Request
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.instant import Behind
from metaspo.bench.makespan import OVERFULL, lanes_over
from metaspo.bench.report import Report, Row
from metaspo.bench.servers.simulated_openai import GPT_4O_MINI, OpenAIModel, SimulatedOpenAI
from metaspo.bench.servers.simulated_vllm import SimulatedVLLM, VLLMModel
from metaspo.bench.workload import Size, answer, make_run
from metaspo.cache import MemoryStore
from metaspo.engine.api import optimize
from metaspo.scheduling import Gateway, LaneSettings

SHARES = (0.01, 0.05)
REPLICAS = (1, 4)
DRAWS = 5  # of which calls hang
TIER = 3


class Hanging(Behind):
    """Another backend, of whose calls a share never ends, whoever sends them."""

    def __init__(self, inner: Backend, *, share: float, draw: int) -> None:
        super().__init__(inner)
        self.sent = self.hung = 0
        self._share = share
        self._luck = Random(f"{draw} {inner.name}")

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """As the other one, or never."""
        self.sent += 1
        if self._luck.random() < self._share:
            self.hung += 1
            await anyio.sleep_forever()
        return await super().complete(request, time_limit=time_limit)


def measure_hanging(
    *,
    size: Size,
    shares: Sequence[float] = SHARES,
    replicas: Sequence[int] = REPLICAS,
    draws: int = DRAWS,
    server: VLLMModel | None = None,
) -> Report:
    """Every share of hanging calls on every number of replicas, for one run, with several draws of which they are."""
    server, optimizer = server or VLLMModel(), GPT_4O_MINI[TIER]
    rows: list[Row] = []
    for count in replicas:
        without = _run(size, 0.0, 0, server, count, optimizer)
        for share in shares:
            runs = [_run(size, share, draw, server, count, optimizer) for draw in range(draws)]
            rows.append(_row(share, count, runs, without))
    return Report(
        scenario="hanging",
        title="Calls that hang for ever, simulated: the same run with and without",
        rows=rows,
        parameters={"server": str(server), "optimizer": f"simulated GPT-4o mini, tier {TIER}"},
        notes=(
            "time, base calls, optimizer calls: times those of the run in which no call hangs, over "
            f"{draws} draws of which calls hang: the median time, its mean and the longest; calls are means.",
            "hung: calls to both models that never ended. Without asking again each would take the lane's time limit, "
            f"{LaneSettings().time_limit:g} s.",
        ),
    )


Figures = Mapping[str, float]


def _row(share: float, replicas: int, runs: Sequence[Figures], without: Figures) -> Row:
    return {
        "share": share,
        "replicas": replicas,
        "hung": fmean(run["hung"] for run in runs),
        "seconds without": without["seconds"],
        "time": median(run["seconds"] for run in runs) / without["seconds"],
        "mean": fmean(run["seconds"] for run in runs) / without["seconds"],
        "longest": max(run["seconds"] for run in runs) / without["seconds"],
        "base calls": fmean(run["base"] for run in runs) / without["base"],
        "optimizer calls": fmean(run["optimizer"] for run in runs) / without["optimizer"],
    }


def _run(size: Size, share: float, draw: int, server: VLLMModel, replicas: int, optimizer: OpenAIModel) -> Figures:
    """Virtual seconds and calls of the whole engine."""

    async def main() -> Figures:
        servers = [
            Hanging(SimulatedVLLM(answer, replace(server), name=f"vllm-{number}"), share=share, draw=draw)
            for number in range(1, replicas + 1)
        ]
        provider = Hanging(SimulatedOpenAI(answer, optimizer), share=share, draw=draw)
        lanes = lanes_over(
            servers,
            provider,
            concurrency=round(OVERFULL * replicas * server.max_num_seqs),
            server=server,
            model=optimizer,
        )
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            await optimize(make_run(size), gateway=gateway)
            seconds = asyncio.get_running_loop().time()
        sent = sum(each.sent for each in servers)
        hung = sum(each.hung for each in (*servers, provider))
        return {"seconds": seconds, "hung": hung, "base": sent, "optimizer": provider.sent}

    return run_virtual(main())
