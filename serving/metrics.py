"""What the server did, in the text format that Prometheus reads."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from metaspo.scheduling import Account, GatewayStatistics
from metaspo.scheduling.statistics import LaneUse, add_up
from metaspo.scheduling.telemetry.call_totals import BOUNDS, CallTotals


def metrics_page(statistics: GatewayStatistics, accounts: Sequence[Account], totals: CallTotals) -> str:
    """All series; seconds and dollars, no key and no run as a label.

    Counters are what the accounts have booked, calls that were broken off included; histograms are of answered calls.
    """
    uses = [account.statistics().lanes for account in accounts]
    lanes = {
        name: add_up({str(i): use[name] for i, use in enumerate(uses) if name in use}) for name in statistics.lanes
    }
    return "".join(f"{line}\n" for line in (*_counters(lanes), *_gauges(statistics), *_histograms(totals)))


def _counters(lanes: dict[str, LaneUse]) -> Iterator[str]:
    yield "# TYPE metaspo_requests_total counter"
    for name, use in lanes.items():
        for outcome, count in (
            ("fresh", use.calls),
            ("hit", use.hits),
            ("joined", use.joined),
            ("failed", use.failed),
        ):
            yield _line("metaspo_requests_total", count, lane=name, outcome=outcome)
    yield "# TYPE metaspo_tokens_total counter"
    for name, use in lanes.items():
        for kind, count in (
            ("prompt", use.prompt_tokens),
            ("cached", use.cached_tokens),
            ("completion", use.completion_tokens),
        ):
            yield _line("metaspo_tokens_total", count, lane=name, kind=kind)
    for series, field in (
        ("metaspo_cost_dollars_total", "dollars"),
        ("metaspo_saved_dollars_total", "dollars_saved"),
        ("metaspo_retries_total", "retries"),
        ("metaspo_queue_seconds_total", "queue_seconds"),
        ("metaspo_limiter_seconds_total", "limiter_seconds"),
        ("metaspo_server_seconds_total", "server_seconds"),
    ):
        yield f"# TYPE {series} counter"
        for name, use in lanes.items():
            yield _line(series, getattr(use, field), lane=name)


def _gauges(statistics: GatewayStatistics) -> Iterator[str]:
    for series, field in (
        ("metaspo_in_flight", "in_flight"),
        ("metaspo_queued", "queued"),
        ("metaspo_retrying", "retrying"),
        ("metaspo_concurrency_limit", "concurrency"),
    ):
        yield f"# TYPE {series} gauge"
        for name, lane in statistics.lanes.items():
            yield _line(series, getattr(lane, field), lane=name)
    yield "# TYPE metaspo_endpoint_up gauge"
    for name, lane in statistics.lanes.items():
        for endpoint in lane.endpoints:
            yield _line("metaspo_endpoint_up", int(endpoint.health != "down"), lane=name, endpoint=endpoint.name)


def _histograms(totals: CallTotals) -> Iterator[str]:
    for series, spreads in (
        ("metaspo_call_queue_seconds", totals.queue),
        ("metaspo_call_server_seconds", totals.server),
    ):
        yield f"# TYPE {series} histogram"
        for lane, spread in spreads.items():
            below = list(accumulate(spread.counts))
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), below, strict=True):
                yield _line(f"{series}_bucket", count, lane=lane, le=bound)
            yield _line(f"{series}_sum", spread.total, lane=lane)
            yield _line(f"{series}_count", below[-1], lane=lane)


def _line(series: str, value: float, **labels: str) -> str:
    told = ",".join(f'{name}="{_escaped(said)}"' for name, said in labels.items())
    return f"{series}{{{told}}} {value}"


def _escaped(said: str) -> str:
    return said.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
