"""Benchmarks: what metaspo costs, how near it comes to what servers allow, and the simulated servers they run on."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.bench.embed import installed as installed
    from metaspo.bench.embed import measure_embed as measure_embed
    from metaspo.bench.flood import measure_flood as measure_flood
    from metaspo.bench.hanging import measure_hanging as measure_hanging
    from metaspo.bench.lag import measure_lag as measure_lag
    from metaspo.bench.limits import measure_limits as measure_limits
    from metaspo.bench.live import LiveTarget as LiveTarget
    from metaspo.bench.live import measure_live as measure_live
    from metaspo.bench.machines import measure_machines as measure_machines
    from metaspo.bench.makespan import measure_makespan as measure_makespan
    from metaspo.bench.methods import measure_methods as measure_methods
    from metaspo.bench.order import measure_order as measure_order
    from metaspo.bench.order import measure_order_live as measure_order_live
    from metaspo.bench.overhead import measure_overhead as measure_overhead
    from metaspo.bench.programs import measure_programs as measure_programs
    from metaspo.bench.racing import measure_racing as measure_racing
    from metaspo.bench.replay import measure_replay as measure_replay
    from metaspo.bench.report import Report as Report
    from metaspo.bench.requests import measure_requests as measure_requests
    from metaspo.bench.savings import measure_savings as measure_savings
    from metaspo.bench.scale import measure_scale as measure_scale
    from metaspo.bench.serve import measure_serve as measure_serve
    from metaspo.bench.simulated_openai import OpenAIModel as OpenAIModel
    from metaspo.bench.simulated_openai import SimulatedOpenAI as SimulatedOpenAI
    from metaspo.bench.simulated_vllm import SimulatedVLLM as SimulatedVLLM
    from metaspo.bench.simulated_vllm import VLLMModel as VLLMModel
    from metaspo.bench.soak import measure_soak as measure_soak
    from metaspo.bench.startup import measure_startup as measure_startup
    from metaspo.bench.tenth import measure_tenth as measure_tenth
    from metaspo.bench.watching import measure_watching as measure_watching
else:
    __getattr__, __dir__ = late_exports(__name__)
