"""Protocols: what is done with prompts once they are found, and methods side by side."""

from metaspo.engine.studies.ablations import ablation, ablation_names
from metaspo.engine.studies.adapt import AdaptTable, Curve, Point, adapt
from metaspo.engine.studies.compare import compare
from metaspo.engine.studies.findings import Findings
from metaspo.engine.studies.generalize import generalize, induce_user_prompts
from metaspo.engine.studies.grid import Cell, Grid, load_grid, prepare_grid
from metaspo.engine.studies.grid_config import GeneralizeTable, GridConfig
from metaspo.engine.studies.methods import Method, method, method_names
from metaspo.engine.studies.needs import plan_cell
from metaspo.engine.studies.refusals import UnseenMethod
from metaspo.engine.studies.results import CellResult
from metaspo.engine.studies.scores import comparisons, summarize_method
from metaspo.engine.studies.study import Study
from metaspo.engine.studies.table_formats import Table, as_csv, latex, markdown, shown

__all__ = [
    "AdaptTable",
    "Cell",
    "CellResult",
    "Curve",
    "Findings",
    "GeneralizeTable",
    "Grid",
    "GridConfig",
    "Method",
    "Point",
    "Study",
    "Table",
    "UnseenMethod",
    "ablation",
    "ablation_names",
    "adapt",
    "as_csv",
    "compare",
    "comparisons",
    "generalize",
    "induce_user_prompts",
    "latex",
    "load_grid",
    "markdown",
    "method",
    "method_names",
    "plan_cell",
    "prepare_grid",
    "shown",
    "summarize_method",
]
