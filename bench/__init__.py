"""Benchmarks: what metaspo costs, how near it comes to what servers allow, and the simulated servers they run on."""

from metaspo.bench.makespan import makespan
from metaspo.bench.replay import replay
from metaspo.bench.report import Report

__all__ = ["Report", "makespan", "replay"]
