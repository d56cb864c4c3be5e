"""Pages and pictures of a run: what the journal tells, and nothing that a model wrote gets out of its box."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World, make_config, make_task

from metaspo import Gateway, Lane, LaneSettings, MemoryStore, optimize
from metaspo.backends import Request, Simulated
from metaspo.bench.browser import CHROMIUM, open_page
from metaspo.engine import Prepared, RunReport
from metaspo.engine.differences import differences
from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.evaluation.answers import TaskAnswers
from metaspo.engine.journal.events import Candidate, Kept, Proposal, Rejected, Score, Select, Spent, Start
from metaspo.engine.journal.history import History, Point
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.report.figures import Bar, before_and_after, draw, methods, score_curve
from metaspo.engine.report.page import COPY, Answers, Section, TextTable, changed_prompt, render_page
from metaspo.engine.report.run_page import run_page, write_figures
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import read_json, read_table
from metaspo.engine.studies.table_formats import Table, latex

TEXTS = st.text(alphabet="ab <&\n{}.", max_size=30)
HOSTILE = "</div><script>alert('x')</script><img src=http://127.0.0.1/x>"


async def finished(folder: Path, *, worlds: tuple[int, ...] = (3,), suffix: str = "") -> RunReport:
    """A run with a session in each of these worlds; every prompt that the optimizer writes ends in `suffix`."""

    def answer(request: Request, *, world: int) -> str:
        text = World(world, malformed=0.0).answer(request)
        return text.replace("</system_prompt>", f"{suffix}</system_prompt>")

    stores, report = {world: MemoryStore() for world in worlds}, None
    tasks = (make_task("a", train=20), make_task("u", role="target", test=12))
    what = Prepared(config=make_config({"runs": "runs"}), tasks=tasks, folder=folder)
    for world in worlds:
        model = partial(answer, world=world)
        lanes = [Lane(name, [Simulated(model)], LaneSettings(concurrency=4)) for name in ("base", "optimizer")]
        async with Gateway(lanes, store=stores[world]) as gateway:
            report = await optimize(what, gateway=gateway)
    assert report is not None
    return report


@given(TEXTS, TEXTS)
def test_a_diff_holds_both_texts(old: str, new: str) -> None:
    spans = differences(old, new)
    assert "".join(span.text for span in spans if span.change != "added") == old
    assert "".join(span.text for span in spans if span.change != "removed") == new


@given(TEXTS)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert all(span.change == "same" for span in differences(text, text))


def without_its_own_script(page: str) -> str:
    """The page without the one script that it may run: by its hash, whatever else came into the page."""
    digest = base64.b64encode(hashlib.sha256(COPY.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert page.count(f"<script>{COPY}</script>") == 1
    return page.replace(f"<script>{COPY}</script>", "")


def test_what_a_model_wrote_is_escaped_wherever_it_stands() -> None:
    section = Section(title=HOSTILE, paragraphs=(HOSTILE,), prompts=(changed_prompt(HOSTILE, "old", HOSTILE),))
    page = without_its_own_script(render_page(HOSTILE, lead=HOSTILE, verdicts=[HOSTILE], sections=[section]))
    assert "<script" not in page
    assert "<img src=http" not in page
    assert "&lt;script&gt;" in page


async def test_a_page_of_a_run_whose_optimizer_writes_markup_holds_no_markup_of_its(tmp_path: Path) -> None:
    report = await finished(tmp_path, suffix=HOSTILE)
    assert report.directory is not None
    page = without_its_own_script(run_page(RunDirectory(report.directory)))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    sources = re.findall(r"<(?:img|script|link|iframe)[^>]*?src=(\S+)", page)
    assert sources
    assert all(source.startswith('"data:image/svg+xml;base64,') for source in sources)


@pytest.mark.usefixtures("undrawn")
async def test_a_page_says_what_the_run_took_as_its_summary_does_and_what_of_it_the_search(tmp_path: Path) -> None:
    report = await finished(tmp_path)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    spent, last = read_json(run, part="summary")["all_sessions"], history_of(report).points({})[-1]
    assert 0 < last.calls < spent["calls"]
    page = run_page(run)
    assert f". {spent['calls']:,} calls, " in page
    assert f" s; {last.calls:,} of the calls up to the last selection, the rest on the test splits" in page


def history_of(report: RunReport) -> History:
    """All that its sessions say of it."""
    assert report.directory is not None
    return RunView.of(StoredJournal(report.directory / "journal.jsonl"), texts=True).history


async def test_running_again_adds_nothing_to_the_history(tmp_path: Path) -> None:
    once = history_of(await finished(tmp_path / "once"))
    twice = history_of(await finished(tmp_path / "twice", worlds=(3, 3)))
    assert [p.score for p in twice.points({})] == [p.score for p in once.points({})]
    assert len(twice.proposals({})) == len(once.proposals({})) > 0


async def test_a_session_that_graded_otherwise_is_not_mixed_with_those_before(tmp_path: Path) -> None:
    """As after what a metric imports was mended: the history is that of a run which was only ever graded so."""
    alone = history_of(await finished(tmp_path / "alone", worlds=(5,)))
    other = history_of(await finished(tmp_path / "other", worlds=(3,)))
    after = history_of(await finished(tmp_path / "after", worlds=(3, 5)))
    assert [p.score for p in alone.points({})] != [p.score for p in other.points({})]
    assert [p.score for p in after.points({})] == [p.score for p in alone.points({})]
    assert after.proposals({}) == alone.proposals({})


def test_calls_of_earlier_sessions_count_and_parents_are_what_was_selected_before() -> None:
    spent = Spent(dollars=0.5, seconds=1.0)
    events = [
        Start(),
        Score(address="init/task=a", score=0.25),
        replace(spent, calls=10),
        Start(),
        Score(address="init/task=a", score=0.25),
        Proposal(address="iter=1/inner/task=a/cand=1", user="new"),
        replace(spent, calls=4),
        Select(address="iter=1/inner/task=a", kept=[Kept("new", 0.5)]),
        Proposal(address="iter=1/outer/cand=1", system="better"),
        Candidate(address="iter=1/outer/cand=1", score=0.75),
        Select(address="iter=1/outer", system="better", chosen=1, score=0.75),
        Proposal(address="iter=2/inner/task=a/cand=1", user="newer"),
        Rejected(address="iter=2/inner/task=a/cand=1", bound=0.1, unasked=3),
        Select(address="iter=2/inner/task=a", kept=[Kept("new", 0.75)]),
    ]
    told = RunView.of(events, texts=True).history
    assert [(p.address, p.score, p.calls, p.dollars) for p in told.points({})] == [
        ("init", 0.25, 0, 0.0),
        ("iter=1/inner", 0.5, 14, 1.0),
        ("iter=1/outer", 0.75, 14, 1.0),
    ]
    assert [(one.text, one.parent, one.score, one.outcome) for one in told.proposals({"": "old", "a": "first"})] == [
        ("new", "first", None, "kept"),
        ("better", "old", 0.75, "kept"),
        ("newer", "new", None, "dropped"),
    ]


def test_the_way_of_the_score_counts_tasks_by_weight_as_the_run_does() -> None:
    """A task of weight 3 at 1 and one of weight 1 at 0 are at 3/4, at the start and after the inner loops."""
    scores = {"a": 1.0, "b": 0.0}
    events = [
        *(Score(address=f"init/task={task}", score=score) for task, score in scores.items()),
        *(Select(address=f"iter=1/inner/task={task}", kept=[Kept("u", score)]) for task, score in scores.items()),
        Select(address="iter=1/outer", system="s", chosen=0, score=0.75),
    ]
    points = RunView.of(events).history.points({"a": 3.0})
    assert [point.score for point in points] == [0.75, 0.75, 0.75]


def test_methods_all_have_a_look_and_a_legend_of_their_own_even_where_the_first_group_lacks_one() -> None:
    bar = Bar(score=0.5, low=0.25, high=0.75)
    names = ["_hidden", "a$b$c", "file:/" + "long/" * 40 + "name.txt", *(f"m{number}" for number in range(9))]
    figure = methods({"one": dict.fromkeys(names[1:], bar), "two": dict.fromkeys(names, bar)})
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(names)
    assert max(len(text.get_text()) for text in legend.get_texts()) < 40
    dots = {(line.get_color(), line.get_marker()) for line in legend.get_lines()}
    assert len(dots) == len(names)
    assert draw(figure, "svg")


def test_the_legend_of_a_tall_picture_stands_right_above_it() -> None:
    """At the top of the picture, clear of the axes, which fill what is below."""
    bar = Bar(score=0.5, low=0.25, high=0.75)
    figure = methods({f"group {number}": {f"m{n}": bar for n in range(9)} for number in range(6)})
    draw(figure, "png")
    box = figure.legends[0].get_window_extent().transformed(figure.transFigure.inverted())
    axes = figure.axes[0].get_position()
    assert box.y0 >= axes.y1
    assert axes.height > 0.75


async def test_pictures_are_written_in_both_formats_and_are_the_same_each_time(tmp_path: Path) -> None:
    report = await finished(tmp_path)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    first = {path.name: path.read_bytes() for path in write_figures(run, tmp_path / "one")}
    again = {path.name: path.read_bytes() for path in write_figures(run, tmp_path / "two")}
    assert sorted(first) == ["score.png", "score.svg", "tasks.png", "tasks.svg"]
    assert first == again


def test_figures_show_what_they_are_given() -> None:
    bar = Bar(score=0.5, low=0.25, high=0.75)
    axes = before_and_after({"task": (bar, Bar(score=0.75, low=0.5, high=1.0))}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["task"]
    drawn = {tuple(float(x) for x in np.asarray(line.get_xdata())) for line in axes.lines}
    assert {(25.0, 75.0), (50.0,), (50.0, 100.0), (75.0,)} <= drawn
    curve = score_curve([Point(address="init", score=0.5), Point(address="iter=1/outer", score=0.75, calls=9)])
    assert len(curve.axes) == 2, "no axis of dollars where nothing was paid"
    assert draw(curve, "png").startswith(b"\x89PNG")


def test_a_run_that_has_not_finished_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not finished"):
        run_page(RunDirectory(tmp_path))


async def test_a_journal_that_tells_nothing_is_named(tmp_path: Path) -> None:
    """As after a crash of the machine, beside a result that is whole."""
    report = await finished(tmp_path)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    for damaged in (b"", bytes(4_000), b'{"event":"start"}\n'):
        run.journal.write_bytes(damaged)
        with pytest.raises(RunDirectoryError, match=r"journal\.jsonl: cannot be read: .* started again"):
            run_page(run)


@pytest.mark.parametrize("damaged", ["{half", "[]", '{"system_prompt": 3}'])
def test_a_result_that_is_damaged_is_told_in_a_line_with_what_mends_it(tmp_path: Path, damaged: str) -> None:
    run = RunDirectory(tmp_path)
    run.result.write_text(damaged, encoding="utf-8")
    with pytest.raises(
        RunDirectoryError, match=r"result\.json: cannot be read: [^\n]+ started again, writes it anew"
    ) as told:
        run_page(run)
    assert "\n" not in str(told.value)


def test_a_file_that_cannot_be_opened_is_told_in_the_systems_words_and_is_not_said_to_be_damaged(
    tmp_path: Path,
) -> None:
    with pytest.raises(RunDirectoryError, match=r": cannot be read: Is a directory$"):
        read_table(tmp_path)


@pytest.mark.usefixtures("undrawn")
async def test_a_page_is_made_of_a_run_whose_tasks_left_their_user_prompt_out(tmp_path: Path) -> None:
    """What they started from stands in the result; a result of an earlier version does not say it."""
    report = await finished(tmp_path)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    config = json.loads(run.config.read_text(encoding="utf-8"))
    config["tasks"] = [{**task, "name": "a", "user_prompt": None} for task in config["tasks"]]
    run.config.write_text(json.dumps(config), encoding="utf-8")
    assert "Best user prompt of a" in run_page(run)
    result = json.loads(run.result.read_text(encoding="utf-8"))
    assert result.pop("first_user_prompts") == {"a": "About a: is {question} even?"}
    run.result.write_text(json.dumps(result), encoding="utf-8")
    assert "Best user prompt of a" in run_page(run)


@pytest.mark.usefixtures("undrawn")
async def test_a_page_says_what_it_was_made_of_each_task_in_one_row_and_the_way_to_its_prompt(tmp_path: Path) -> None:
    report = await finished(tmp_path)
    assert report.directory is not None
    page = run_page(RunDirectory(report.directory))
    config = make_config()
    assert f"{config.base.model} / {config.optimizer.model if config.optimizer else ''}, seed {config.seed}" in page
    rows = [row for row in re.findall(r"<tr>(.*?)</tr>", page) if 'data-head="before"' in row]
    assert len(rows) == len({test.task for test in report.result.tests})
    assert report.result.system_prompt != report.result.first_system_prompt
    way = page[page.index("How the system prompt came about") : page.index("Every proposal")]
    assert "kept" in way
    run = RunDirectory(report.directory)
    result = json.loads(run.result.read_text(encoding="utf-8"))
    run.result.write_text(json.dumps({**result, "system_prompt": result["first_system_prompt"]}), encoding="utf-8")
    assert "No system prompt that was proposed was adopted" in run_page(run)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_a_prompt_is_copied_whole_and_nothing_is_cut_at_the_width_of_a_phone(tmp_path: Path) -> None:
    prompt = "Line one <b>\n  line two {x}\ttab " + "long" * 80
    table = TextTable(columns=("task", *(f"column {n}" for n in range(12))), rows=(("a" * 60, *["1.0 to 2.0"] * 12),))
    section = Section(title="t", prompts=(changed_prompt("System prompt", "old", prompt),), tables=(table,))
    path = tmp_path / "page.html"
    path.write_text(render_page("r", lead="l", verdicts=[], sections=[section]), encoding="utf-8")
    async with open_page() as page:
        await page.open(path.as_uri())
        await page.until("document.querySelector('button.copy')")
        await page.resize(390, 800)
        assert await page.value("document.querySelector('.prompt').textContent") == prompt
        assert await page.value("document.documentElement.scrollWidth <= innerWidth")
        cells = "[...document.querySelectorAll('td')]"
        assert await page.value(f"{cells}.every((cell) => cell.getBoundingClientRect().right <= innerWidth)")
        await page.value("document.querySelector('button.copy').focus()")
        await page.press("Enter")
        await page.until("document.querySelector('button.copy').textContent != 'copy'")
        assert page.faults == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
async def test_a_page_is_as_dark_as_its_reader_likes_and_a_matrix_stays_one_on_a_phone(tmp_path: Path) -> None:
    labels = [f"label-{n}" for n in range(9)]
    rows = tuple((name, *["1 → 2"] * len(labels)) for name in labels)
    matrix = TextTable(columns=("right answer", *labels), rows=rows)
    task = TaskAnswers(task="a", role="source", split="test", examples=())
    section = Section(title="t", answers=(Answers(task=task, labels=matrix, shown=(), left_out=0),))
    path = tmp_path / "page.html"
    path.write_text(render_page("r", lead="l", verdicts=[], sections=[section]), encoding="utf-8")
    brightness = "getComputedStyle(document.body).{}.match(/[0-9]+/g).reduce((sum, part) => sum + Number(part), 0)"
    paper, ink = brightness.format("backgroundColor"), brightness.format("color")
    async with open_page() as page:
        await page.resize(390, 800)
        await page.open(path.as_uri())
        await page.until("document.querySelector('caption')")
        assert await page.value(f"{paper} > {ink}")
        await page.dark(True)
        assert await page.value(f"{paper} < {ink}")
        heights = (
            "[...document.querySelectorAll('.matrix tr')].map((row) => row.children[9].getBoundingClientRect().top)"
        )
        assert await page.value(f"new Set({heights}).size") == 10, "a row is a row"
        assert await page.value("document.documentElement.scrollWidth <= innerWidth")
        assert await page.value("document.querySelector('.scroll').scrollWidth > innerWidth")


def test_a_table_for_a_paper_is_no_wider_than_its_text_and_has_words_at_the_left_and_real_minus_signs() -> None:
    columns = ("method", "optimizer calls a cell", "95%, other seeds", "verdict")
    made = latex(Table(name="t", title="t", columns=columns, rows=(("metaspo-ape", -1.5, "-33.0 to +9.0", "better"),)))
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth" in made
    assert r"\begin{tabular}{lrrl}" in made
    assert (
        r"method & \shortstack[r]{optimizer\\calls a\\cell} & \shortstack[r]{95\%,\\other\\seeds} & verdict \\" in made
    )
    assert r"metaspo-ape & $-$1.5 & $-$33.0 to +9.0 & better \\" in made


def test_a_command_that_a_page_names_is_code_and_nothing_in_it_is_markup() -> None:
    said = "Not checked: `metaspo safety <b>` tells."
    page = render_page("r", lead="l", verdicts=[said, "a ` alone <i>"], sections=[])
    assert "Not checked: <code>metaspo safety &lt;b&gt;</code> tells." in page
    assert "a ` alone &lt;i&gt;" in page


SPECIAL = st.text(alphabet="ab&%$#_{}~^\\ –", min_size=1, max_size=12)


@given(SPECIAL)
def test_a_table_in_latex_holds_no_command_of_its_texts(text: str) -> None:
    made = latex(Table(name="t", title=text, columns=(text, "b"), rows=((text, 1.25),)))
    (row,) = (line for line in made.split("\n") if line.endswith(r"& 1.2 \\"))
    cell = row.removesuffix(r" & 1.2 \\")
    for escaped in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", *(rf"\{c}" for c in "&%$#_{}")):
        cell = cell.replace(escaped, "")
    assert set(cell) <= set("ab -")
    assert made.count(r"\begin{tabular}{lr}") == 1
