"""Benchmarks: what metaspo costs, how near it comes to what servers allow, and the simulated servers they run on."""

from metaspo.bench.lag import measure_lag
from metaspo.bench.limits import measure_limits
from metaspo.bench.live import LiveTarget, measure_live
from metaspo.bench.makespan import measure_makespan
from metaspo.bench.overhead import measure_overhead
from metaspo.bench.replay import measure_replay
from metaspo.bench.report import Report
from metaspo.bench.scale import measure_scale
from metaspo.bench.simulated_openai import OpenAIModel, SimulatedOpenAI
from metaspo.bench.simulated_vllm import SimulatedVLLM, VLLMModel

__all__ = [
    "LiveTarget",
    "OpenAIModel",
    "Report",
    "SimulatedOpenAI",
    "SimulatedVLLM",
    "VLLMModel",
    "measure_lag",
    "measure_limits",
    "measure_live",
    "measure_makespan",
    "measure_overhead",
    "measure_replay",
    "measure_scale",
]
