"""Reports: pictures and pages of runs and comparisons. Needs the `report` extra (matplotlib, jinja2)."""

from metaspo.engine.report.run_page import load_result as load_result
from metaspo.engine.report.run_page import run_page as run_page
from metaspo.engine.report.run_page import write_figures as write_figures
from metaspo.engine.report.study_page import write_study as write_study
