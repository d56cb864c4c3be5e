"""Whether an optimized system prompt changes what a model refuses."""

from metaspo.engine.safety.check import SafetyReport as SafetyReport
from metaspo.engine.safety.check import Side as Side
from metaspo.engine.safety.check import check_safety as check_safety
from metaspo.engine.safety.refusals import behaves as behaves
from metaspo.engine.safety.refusals import refuses as refuses
