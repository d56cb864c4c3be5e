"""The few gauges worth reading from a model server's `/metrics` page."""

import math
from collections.abc import Mapping

_GAUGES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:kv_cache_usage_perc": "kv_cache",
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
}


def parse_load(text: str) -> Mapping[str, float]:
    """Gauges by our names from Prometheus text; empty if it shows none of them.

    "running", "waiting" and "preemptions" are requests, summed over engines; "kv_cache" is the used share (0 to 1) of
    the fullest one.
    """
    load: dict[str, float] = {}
    for line in text.splitlines():
        gauge = _GAUGES.get(line.split("{", 1)[0].split(" ", 1)[0])
        if gauge is None:
            continue
        value = _value(line.rpartition("}")[2] if "}" in line else line.partition(" ")[2])
        if value is not None:
            load[gauge] = max(load.get(gauge, 0.0), value) if gauge == "kv_cache" else load.get(gauge, 0.0) + value
    return load


def _value(text: str) -> float | None:
    """The number in "VALUE [TIMESTAMP]"."""
    try:
        value = float(text.split()[0])
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) else None
