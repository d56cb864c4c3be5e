"""Many machines: each cell of a study, or each run, on a node of a Ray cluster."""

from metaspo.engine.cluster.node import Outcome, Part
from metaspo.engine.cluster.parts import check_caps, check_parts, part_of, seen_by_all, unpack
from metaspo.engine.cluster.ray_cluster import run_on

__all__ = ["Outcome", "Part", "check_caps", "check_parts", "part_of", "run_on", "seen_by_all", "unpack"]
