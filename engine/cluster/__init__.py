"""Many machines: each cell of a study, or each run, on a node of a Ray cluster."""

from metaspo.engine.cluster.node import Outcome as Outcome
from metaspo.engine.cluster.node import Part as Part
from metaspo.engine.cluster.parts import check_caps as check_caps
from metaspo.engine.cluster.parts import check_parts as check_parts
from metaspo.engine.cluster.parts import part_of as part_of
from metaspo.engine.cluster.parts import seen_by_all as seen_by_all
from metaspo.engine.cluster.parts import unpack as unpack
from metaspo.engine.cluster.ray_cluster import run_on as run_on
