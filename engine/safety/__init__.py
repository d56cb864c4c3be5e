"""Whether an optimized system prompt changes what a model refuses."""

from metaspo.engine.safety.check import SafetyReport, check_safety
from metaspo.engine.safety.refusals import behaves, refuses

__all__ = ["SafetyReport", "behaves", "check_safety", "refuses"]
