"""Benchmarks: what metaspo costs, how near it comes to what servers allow, and the simulated servers they run on."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.bench.embed import installed, measure_embed
    from metaspo.bench.flood import measure_flood
    from metaspo.bench.hanging import measure_hanging
    from metaspo.bench.known_truth.methods import measure_methods
    from metaspo.bench.known_truth.tenth import measure_tenth
    from metaspo.bench.lag import measure_lag
    from metaspo.bench.limits import measure_limits
    from metaspo.bench.live import LiveTarget, measure_live
    from metaspo.bench.machines import measure_machines
    from metaspo.bench.makespan import measure_makespan
    from metaspo.bench.order import measure_order, measure_order_live
    from metaspo.bench.overhead import measure_overhead
    from metaspo.bench.programs import measure_programs
    from metaspo.bench.racing import measure_racing
    from metaspo.bench.replay import measure_replay
    from metaspo.bench.report import Report
    from metaspo.bench.requests import measure_requests
    from metaspo.bench.savings import measure_savings
    from metaspo.bench.scale import measure_scale
    from metaspo.bench.serve import measure_serve
    from metaspo.bench.servers.simulated_openai import OpenAIModel, SimulatedOpenAI
    from metaspo.bench.servers.simulated_vllm import SimulatedVLLM, VLLMModel
    from metaspo.bench.soak import measure_soak
    from metaspo.bench.startup import measure_startup
    from metaspo.bench.stored import measure_stored
    from metaspo.bench.watching import measure_watching
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "LiveTarget",
    "OpenAIModel",
    "Report",
    "SimulatedOpenAI",
    "SimulatedVLLM",
    "VLLMModel",
    "installed",
    "measure_embed",
    "measure_flood",
    "measure_hanging",
    "measure_lag",
    "measure_limits",
    "measure_live",
    "measure_machines",
    "measure_makespan",
    "measure_methods",
    "measure_order",
    "measure_order_live",
    "measure_overhead",
    "measure_programs",
    "measure_racing",
    "measure_replay",
    "measure_requests",
    "measure_savings",
    "measure_scale",
    "measure_serve",
    "measure_soak",
    "measure_startup",
    "measure_stored",
    "measure_tenth",
    "measure_watching",
]
