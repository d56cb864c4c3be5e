"""The page of a comparison, and everything that is written of it to a folder."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import orjson
from matplotlib.figure import Figure

from metaspo.backends.paths import write_whole
from metaspo.engine.report.figures import Bar, draw, lines, methods
from metaspo.engine.report.page import Entry, Picture, Section, TextTable, changed_prompt, picture, render_page
from metaspo.engine.runs.directory import write_text
from metaspo.engine.studies import Findings, Study, Table, as_csv, latex, markdown, shown
from metaspo.engine.studies.protocol_scores import adaptation

JSON = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def study_page(findings: Findings, pictures: Mapping[str, Picture]) -> str:
    """Everything worth seeing of a comparison on one page of HTML, with pictures by the name of their table."""
    study = findings.study
    sections = [
        Section(
            title=table.title,
            pictures=(pictures[table.name],) if table.name in pictures else (),
            tables=(_text(table),),
            paragraphs=(table.note,) if table.note else (),
        )
        for table in findings.tables
    ]
    sections.append(Section(title="System prompts", entries=tuple(_prompts(study))))
    about = "; ".join(f"{method.name}: {method.about}" for method in study.grid.methods)
    return render_page(
        f"Comparison {study.grid.config.name}",
        lead=f"{len(study.methods)} methods, seeds {', '.join(map(str, study.seeds))}. {about}.",
        verdicts=findings.verdicts,
        sections=sections,
    )


def study_figures(findings: Findings) -> dict[str, Figure]:
    """Pictures by the name of the table that they belong to."""
    study = findings.study
    groups: dict[str, dict[str, Bar]] = {part or "all tasks": {} for part in study.parts}
    for (method, part), summary in findings.summaries.items():
        if summary.score is not None and summary.interval is not None:
            bar = Bar(score=summary.score, low=summary.interval.low, high=summary.interval.high)
            groups[part or "all tasks"][method] = bar
    figures = {"scores": methods(groups)} if any(groups.values()) else {}
    curves = {method: adaptation(study, method) for method in study.methods}
    over_rounds = {method: list(enumerate(sizes[max(sizes)])) for method, sizes in curves.items() if sizes}
    if over_rounds:
        figures["adapt"] = lines(over_rounds, x="round", y="test score, %")
    return figures


def write_study(findings: Findings, folder: Path) -> Path:
    """Write tables (Markdown, CSV, LaTeX, JSON), pictures, every cell's result and the page; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tables.md", "\n".join(map(markdown, findings.tables)))
    for table in findings.tables:
        write_text(folder / f"{table.name}.csv", as_csv(table).rstrip("\n"))
        write_text(folder / f"{table.name}.tex", latex(table).rstrip("\n"))
    data = {
        "tables": {table.name: table.records() for table in findings.tables},
        "verdicts": findings.verdicts,
        "cells": [asdict(result) for result in findings.study.results],
    }
    write_whole(folder / "results.json", orjson.dumps(data, option=JSON))
    pictures = {}
    for name, figure in study_figures(findings).items():
        write_whole(folder / f"{name}.png", draw(figure, "png"))
        pictures[name] = picture(figure, alt=name)
        write_whole(folder / f"{name}.svg", pictures[name].svg)
    page = folder / "report.html"
    write_text(page, study_page(findings, pictures))
    return page


def _text(table: Table) -> TextTable:
    return TextTable(columns=table.columns, rows=tuple(tuple(shown(value) for value in row) for row in table.rows))


def _prompts(study: Study) -> list[Entry]:
    """Every system prompt, marked against the first one of its run; one that several cells came to is there once."""
    cells: dict[tuple[str, str, str], list[str]] = {}
    for method in study.methods:
        for _, result in study.of_method(method):
            first = result.result.first_system_prompt if result.result else result.system_prompt
            cell = f"{result.domain} seed {result.seed}".strip()
            cells.setdefault((method, first, result.system_prompt), []).append(cell)
    return [
        Entry(title=method, outcome=", ".join(places), kept=False, spans=changed_prompt(method, first, prompt).spans)
        for (method, first, prompt), places in cells.items()
    ]
