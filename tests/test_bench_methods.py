"""The benchmark of methods: equal calls for all, figures by truth, what other packages ask and are answered."""

import sys
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import here
from sizes import rest_is_slow

from metaspo.bench.known_truth.gepa_peer import Adapter
from metaspo.bench.known_truth.method_peers import peers_of
from metaspo.bench.known_truth.method_run import WRITERS, Job, run_method
from metaspo.bench.known_truth.method_shapes import METHODS, REFERENCE
from metaspo.bench.known_truth.methods import LEANS, measure_methods
from metaspo.bench.known_truth.peer_models import SYSTEM, Models
from metaspo.bench.known_truth.peer_writer import SHARED, WRONG, PeerWriter
from metaspo.bench.known_truth.skills import named
from metaspo.bench.known_truth.tenth import compare, measure_tenth
from metaspo.bench.known_truth.world import SOURCES, World

CALLS = 300
APART = ["--world", "apart", "--world", "apart, distraction"]


@pytest.mark.parametrize("name", rest_is_slow(sorted(METHODS, key=lambda name: name != REFERENCE), but=6))
def test_every_method_keeps_to_the_calls_it_is_given(name: str) -> None:
    found = run_method(Job(world=World(3), calls=CALLS, changes=METHODS[name](CALLS)))
    assert 0 < found.base <= CALLS
    assert 0 < found.source <= 0.9 + 1e-9
    assert 0 < found.unseen <= 0.9 + 1e-9
    assert found.dollars


@pytest.mark.slow
def test_a_report_compares_each_method_with_ours_in_each_world_and_in_all() -> None:
    report = measure_methods(
        seeds=2, calls=[CALLS], methods=["textgrad"], worlds=["added up", "entangled"], first_seed=7
    )
    assert [(row["world"], row["method"]) for row in report.rows] == [
        (world, method) for world in ("added up", "entangled", "all") for method in ("metaspo+", "textgrad")
    ]
    assert [row["ahead, source"] == "–" for row in report.rows] == [True, False] * 3


def test_what_unseen_tasks_can_have_is_told_by_a_system_prompt_of_just_what_tasks_share() -> None:
    world = World(3)
    assert named(world.shared_prompt) == frozenset(world.common)
    default = run_method(Job(world=World(3, shared=False), calls=CALLS, changes=METHODS["default"](CALLS)))
    assert default.shared == default.unseen


@pytest.mark.slow
def test_the_seeds_of_a_report_are_those_that_are_asked_for() -> None:
    options = ["--seeds", "2", "--first-seed", "7", "--calls", str(CALLS), "--method", REFERENCE, "--json"]
    told = here("bench", "methods", *options).data
    known = measure_methods(seeds=2, calls=[CALLS], methods=[REFERENCE], worlds=["added up"], first_seed=7)
    assert told["title"] == known.title
    assert told["rows"][0]["source"] == known.rows[0]["source"]


@pytest.mark.slow
def test_apart_a_system_prompt_brings_unseen_tasks_nothing_or_harm() -> None:
    options = ["--seeds", "2", "--first-seed", "13005", "--calls", "500", "--method", "default", *APART, "--json"]
    rows = here("bench", "methods", *options).data["rows"]
    ahead = {row["world"]: float(row["ahead, unseen"].split()[0]) for row in rows if row["method"] == "default"}
    assert set(ahead) == {"apart", "apart, distraction", "all"}
    assert max(ahead.values()) <= 0


def test_a_shape_with_a_key_set_otherwise_stands_beside_the_planned_one() -> None:
    """It is planned around what is set, as for a config: what wants induced prompts falls away with them."""
    seeds = ["--seeds", "2", "--first-seed", "7", "--calls", str(CALLS), "--world", "added up", "--json"]
    sets = ["--set", "outer.under=kept", "--set", "rows=12"]
    rows = here("bench", "methods", *seeds, *sets).data["rows"]
    name = 'metaspo+, with outer.under="kept" rows=12'
    assert [row["method"] for row in rows] == [REFERENCE, name] * 2
    shape = METHODS[REFERENCE](CALLS)
    said = {**shape, "rows": 12, "outer": {**shape["outer"], "under": "kept", "shared": False, "shared_margin": 0}}
    known = [run_method(Job(world=World(seed, distraction=0.0), calls=CALLS, changes=said)) for seed in (7, 8)]
    assert rows[1]["base calls"] == round(sum(found.base for found in known) / 2)
    assert rows[1]["source"].split()[0] == f"{50 * sum(found.source for found in known):.1f}"
    nowhere = here("bench", "methods", "--world", "flat")
    assert (nowhere.code, "there is no such world" in nowhere.err) == (2, True)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("outer.undr=kept", "outer.undr: unknown key"),
        ("outer.strategy=nope", "outer.strategy: there is no strategy 'nope'"),
        ('outer.must_contain=["x"]', "[outer] says what every system prompt must keep to, the first one too"),
        ("preset=x", "--set preset: is no part of how a method searches"),
        ("budget.calls=5", "--set budget.calls: is no part of how a method searches"),
    ],
)
def test_what_cannot_be_set_is_told_in_one_sentence_before_anything_is_measured(setting: str, words: str) -> None:
    refused = here("bench", "methods", "--set", setting)
    assert (refused.code, words in refused.err, len(refused.err.splitlines())) == (2, True, 1)


@pytest.mark.slow
def test_a_writer_that_falls_into_a_trap_finds_something_else() -> None:
    changes = METHODS["metaspo+, informed"](CALLS)
    found = {
        writer: run_method(
            Job(world=World(3, leaning=LEANS.get(writer, 0.0)), calls=CALLS, changes=changes, writer=writer)
        )
        for writer in WRITERS
    }
    assert len({(each.source, each.optimizer) for each in found.values()}) == len(WRITERS)
    unknown = here("bench", "methods", "--writer", "strong")
    assert (unknown.code, "known: plain, rambles, quotes, tactless, pushes, heedless" in unknown.err) == (2, True)


@pytest.mark.slow
def test_pushes_are_counted_where_the_writer_pushes() -> None:
    """Of the prompts that are written from answers and of those found; the worlds lean there, and only there."""
    rows = measure_methods(seeds=2, calls=[CALLS], methods=[REFERENCE], worlds=["added up"], writer="pushes").rows
    assert [row["pushing, written"] for row in rows] == [rows[0]["pushing, written"]] * 2 != ["0%"] * 2
    plain = measure_methods(seeds=2, calls=[CALLS], methods=[REFERENCE], worlds=["added up"]).rows
    assert "pushing, written" not in plain[0]


def test_the_adapter_grades_by_the_world_and_rewrites_only_what_has_failures() -> None:
    world = World(5)
    tasks = [task for task in world.tasks(train=12, test=1) if task.role == "source"]
    candidate = {SYSTEM: "You are a helpful assistant.", **{task.name: task.user_prompt for task in tasks}}
    adapter = Adapter(Models(world))
    batch = [(tasks[0].name, example) for example in tasks[0].train]
    seen = adapter.evaluate(batch, candidate, capture_traces=True)
    assert 0 < sum(seen.scores) < len(batch)
    cases = adapter.make_reflective_dataset(candidate, seen, [SYSTEM, *SOURCES])
    assert len(cases[SYSTEM]) == len(cases[SOURCES[0]]) == len(batch) - sum(seen.scores)
    texts = adapter.write(candidate, cases, [SYSTEM, *SOURCES])
    assert texts[SYSTEM] != candidate[SYSTEM]
    assert {name for name in SOURCES if texts[name] != candidate[name]} <= {SOURCES[0]}
    nothing = adapter.make_reflective_dataset(candidate, SimpleNamespace(trajectories=[]), [SYSTEM])
    assert adapter.write(candidate, nothing, [SYSTEM]) == {SYSTEM: candidate[SYSTEM]}


def test_a_package_that_is_not_there_is_no_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gepa").mkdir()
    (tmp_path / "json.py").write_text("raise AssertionError")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')  # -S: without what is installed
    python.chmod(0o755)
    assert peers_of(python) == {}
    refused = here("bench", "methods", "--peers-python", str(python))
    assert refused.code == 2
    assert "has none of gepa, textgrad and dspy[optuna]" in refused.err
    assert peers_of(Path("/bin/false")) == peers_of(Path("/bin/echo")) == {}, "no Python at all"
    both = here("bench", "methods", "--tenth", "--calls", "500")
    assert (both.code, "leave out --calls" in both.err) == (2, True)
    unknown = here("bench", "methods", "--method", "mipro, dspy")
    assert unknown.code == 2
    assert "there is no such method" in unknown.err


def _sections(world: World, system: str) -> list[str]:
    """Of each source task, a conversation with feedback as TextGrad shows it to an optimizer."""
    writer, sections = PeerWriter(world), []
    for task in world.tasks(train=4, test=1)[:4]:
        for example in task.train:
            talk = (
                f"<LM_SYSTEM_PROMPT> {system} </LM_SYSTEM_PROMPT>\n\n<LM_INPUT> Go.\n\n{example.question} </LM_INPUT>"
            )
            feedback = writer.to_textgrad(f"<ROLE> {SHARED} </ROLE>{talk}{WRONG}")
            sections.append(f"<CONVERSATION>{talk}</CONVERSATION>\n<FEEDBACK>{feedback}</FEEDBACK>")
    return sections


def test_the_writer_says_nothing_of_a_right_answer_and_what_a_wrong_one_lacks() -> None:
    writer = PeerWriter(World(5))
    question = World(5).tasks(train=1, test=1)[0].train[0].question
    asked = f"<ROLE> {SHARED} </ROLE><LM_INPUT> {question} </LM_INPUT>"
    assert "[" not in writer.to_textgrad(asked)
    assert "The answer is right." in writer.to_textgrad(f"{asked}<OUTPUT_OF_FUNCTION> 1 </OUTPUT_OF_FUNCTION>")
    assert WRONG in writer.to_textgrad(f"{asked}<OUTPUT_OF_FUNCTION> 0 </OUTPUT_OF_FUNCTION>")
    assert any("[" in section for section in _sections(World(5), "Help."))


def test_an_improved_variable_does_not_depend_on_the_order_of_its_feedback() -> None:
    world = World(5)
    sections = _sections(world, "Help.")[:3]
    end = "<IMPROVED_VARIABLE>{the improved variable}</IMPROVED_VARIABLE>"
    answers = {
        PeerWriter(world).to_textgrad(f"<ROLE>{SHARED}</ROLE>{''.join(order)}{end}") for order in permutations(sections)
    }
    (answer,) = answers
    assert named(answer)


def test_an_instruction_is_proposed_from_what_a_summary_says_of_its_task() -> None:
    world, writer = World(5), PeerWriter(World(5))
    tasks = world.tasks(train=10, test=1)
    observed = writer.to_dspy("observations", {"examples": " ".join(one.question for t in tasks for one in t.train)}, 0)
    summary = writer.to_dspy("summary", {"observations": observed}, 1)
    given = {"dataset_description": summary, "basic_instruction": f"This comes from the {tasks[0].name}."}
    texts = [writer.to_dspy("proposed_instruction", given, draw) for draw in range(20)]
    own = set(world.own[tasks[0].name])
    assert sum(bool(own & named(text)) for text in texts) > 15
    elsewhere = {skill for name, skills in world.own.items() if name != tasks[0].name for skill in skills}
    assert not any(elsewhere & named(text) for text in texts)


@pytest.mark.slow
def test_a_tenth_is_a_tenth_of_what_the_defaults_asked() -> None:
    ours, paper = compare(World(7))
    assert 8_000 < paper.base < 20_000
    assert 0.8 * paper.base / 10 < ours.base <= paper.base / 10
    rows = measure_tenth(seeds=1, first_seed=7, worlds=["added up"]).rows
    assert [(row["world"], row["method"]) for row in rows] == [
        (world, name) for world in ("added up", "all") for name in ("metaspo+", "metaspo, the paper's defaults")
    ]
    assert rows[0]["ahead, source"] == "–" != rows[1]["ahead, source"]
