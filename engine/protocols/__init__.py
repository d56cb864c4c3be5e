"""Protocols: what is done with prompts once they are found, and methods side by side."""

from metaspo.engine.protocols.ablations import Ablation, ablation, ablation_names
from metaspo.engine.protocols.adapt import Curve, Effort, Point, adapt
from metaspo.engine.protocols.compare import compare
from metaspo.engine.protocols.findings import Findings
from metaspo.engine.protocols.generalize import UserPrompts, generalize, induce_user_prompts
from metaspo.engine.protocols.grid import (
    AdaptTable,
    Cell,
    GeneralizeTable,
    Grid,
    GridConfig,
    MethodTable,
    load_grid,
    prepare_grid,
)
from metaspo.engine.protocols.methods import Method, method, method_names
from metaspo.engine.protocols.needs import plan_cell
from metaspo.engine.protocols.results import CellResult
from metaspo.engine.protocols.scores import Summary, comparisons, summarize_method
from metaspo.engine.protocols.study import Study
from metaspo.engine.protocols.table_formats import Table, as_csv, markdown, shown

__all__ = [
    "Ablation",
    "AdaptTable",
    "Cell",
    "CellResult",
    "Curve",
    "Effort",
    "Findings",
    "GeneralizeTable",
    "Grid",
    "GridConfig",
    "Method",
    "MethodTable",
    "Point",
    "Study",
    "Summary",
    "Table",
    "UserPrompts",
    "ablation",
    "ablation_names",
    "adapt",
    "as_csv",
    "compare",
    "comparisons",
    "generalize",
    "induce_user_prompts",
    "load_grid",
    "markdown",
    "method",
    "method_names",
    "plan_cell",
    "prepare_grid",
    "shown",
    "summarize_method",
]
