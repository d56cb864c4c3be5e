"""Reports: pictures and pages of runs and comparisons. Needs the `report` extra (matplotlib, jinja2)."""

from metaspo.engine.report.run_page import run_page, write_figures
from metaspo.engine.report.study_page import write_study

__all__ = ["run_page", "write_figures", "write_study"]
