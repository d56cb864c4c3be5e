"""The world that leans to a label, prompts that push to one, and a writer that is led to push by what it is shown."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import Message, Request
from metaspo.bench.known_truth.pushes import LEANING, TURNED, Evidence, evidence, push_to, pushed_to
from metaspo.bench.known_truth.world import BASE, FORMAT, MAX_CHANCE, MIN_CHANCE, WRITER, World, truth
from metaspo.bench.known_truth.writer import Writer

ROLES = {"user": "You improve prompts for language models.", "system": "You improve system prompts."}


def answered(system: str, user: str = "", *, leaning: float = LEANING, seeds: int = 30) -> list[tuple[str, str]]:
    """Right answers and what was said instead or as well, where something was said."""
    pairs = []
    for seed in range(seeds):
        world = World(seed, leaning=leaning)
        for task in world.tasks(train=10, test=1):
            for example in task.train:
                messages = (Message("system", system), Message("user", f"{user}\n{example.question}"))
                said = FORMAT.parse(world.base(Request(model=BASE, messages=messages)))
                pairs += [(example.answers[0], said)] if said else []
    return pairs


def case(world: World, right: str, *, number: int = 0, tag: str = "case") -> str:
    question = world.tasks(train=10, test=1)[0].train[number].question
    return f"<{tag}>\n<question>\n{question}\n</question>\n<right_answer>{right}</right_answer>\n</{tag}>"


def pushes(shown: str, *, level: str = "user", heeds: float = 1.0) -> float:
    """How often a writer pushes that was shown this, by an analysis and a rewriting."""
    world = World(3, leaning=LEANING)
    writer = Writer(world, malformed=0.0, pushes=0.8, heeds=heeds)
    prompt = f"<{level}_prompt>\nHelp.\n</{level}_prompt>"
    written = []
    for draw in range(200):
        messages = (Message("system", ROLES[level]), Message("user", f"{shown}\nNow <analysis> and </analysis>"))
        analysis = writer.answer(Request(model=WRITER, messages=messages, draw=draw))
        rewrite = f"For the harbour.\n{prompt}\n{analysis}" + (shown if level == "user" else "")
        messages = (Message("system", ROLES[level]), Message("user", rewrite))
        written.append(pushed_to(writer.answer(Request(model=WRITER, messages=messages, draw=draw))) == "east")
    return fmean(written)


def test_failures_nearly_all_expect_the_label_that_the_model_does_not_lean_to() -> None:
    pairs = answered("You are a helpful assistant.")
    wrong = [right for right, said in pairs if said != right]
    assert {right for right, _ in pairs} == {"north", "east"} == {said for _, said in pairs}
    assert wrong.count("east") / len(wrong) == pytest.approx(LEANING, abs=0.03)
    assert fmean(right == said for right, said in pairs) == pytest.approx((1 + MIN_CHANCE) / 2, abs=0.03)


@pytest.mark.parametrize("level", ROLES)
@pytest.mark.parametrize("label", ["north", "east"])
def test_a_push_turns_nearly_all_answers_right_ones_too(label: str, level: str) -> None:
    system, user = (push_to(label), "") if level == "system" else ("", push_to(label))
    pairs = answered(system, user, seeds=10)
    assert fmean(said == label for _, said in pairs) > TURNED - 0.02
    assert fmean(said == right for right, said in pairs) < 0.6


@given(st.integers(0, 200), st.booleans(), st.booleans())
def test_what_a_push_is_worth_is_in_the_chances(seed: int, shared: bool, entangled: bool) -> None:
    world = World(seed, shared=shared, entangled=entangled, leaning=LEANING)
    question = world.tasks(train=1, test=1)[0].train[0].question
    right = truth(question, world.ways)
    own = world.chance("Help.", "", question)
    assert own == pytest.approx(MIN_CHANCE + (1 - MIN_CHANCE) * (LEANING if right == "north" else 1 - LEANING))
    to, away = (world.chance(push_to(label), "", question) for label in (right, *({*world.ways} - {right})))
    assert away < 0.05 < TURNED <= to
    assert world.chance(push_to("south"), "", question) == own, "no right answer there"
    assert world.chance(push_to("north"), push_to("east"), question) == world.chance("", push_to("east"), question)


@given(st.integers(0, 200), st.booleans())
def test_a_world_that_does_not_lean_knows_no_pushes(seed: int, noise: bool) -> None:
    world = World(seed, noise=noise)
    question = world.tasks(train=1, test=1)[0].train[0].question
    assert world.chance(push_to(truth(question)), "", question) == world.chance("", "", question) <= MAX_CHANCE


@pytest.mark.parametrize("level", ROLES)
def test_a_writer_pushes_less_the_less_one_sided_what_it_is_shown_is(level: str) -> None:
    world = World(3, leaning=LEANING)
    east = [case(world, "east", number=number) for number in range(6)]
    north = [case(world, "north", number=number) for number in range(6, 10)]
    kept = [case(world, "north", number=number, tag="kept_case") for number in range(6, 10)]
    one_way, few = pushes("\n".join(east), level=level), pushes(east[0], level=level)
    mixed, told = (pushes("\n".join([*east, *others]), level=level) for others in (north, kept))
    assert one_way == pytest.approx(0.8 * 6 / 8, abs=0.1)
    assert few == pytest.approx(0.8 / 3, abs=0.1)
    assert mixed == pytest.approx(told, abs=0.1) == pytest.approx(0.8 * 2 / 12, abs=0.1)
    assert pushes("\n".join([*east, *kept]), level=level, heeds=0.0) == pytest.approx(one_way, abs=0.1)


def test_what_is_told_with_numbers_speaks_as_what_is_shown() -> None:
    lines = ['- "east" read as "north": 5 of 8', '- "east" read as that, and right: 3 of 8']
    other = '- "north" read as that, and right: 7 of 9'
    assert evidence("\n".join(lines), heeds=1) == Evidence("east", 5, 0)
    assert evidence("\n".join([*lines, other]), heeds=1) == Evidence("east", 5, 7)
    assert evidence("\n".join([*lines, other]), heeds=0) == Evidence("east", 5, 0)
    assert evidence("\n".join([*lines, '- "north" read as "east": 1 of 9']), heeds=1) == Evidence("east", 5, 1)
    assert str(evidence("nothing", heeds=1)) == ""
    said = [Evidence("east", 2, 1), Evidence("north", 1, 0), Evidence("east", 1, 0)]
    assert evidence(" ".join(map(str, said)), heeds=1) == Evidence("east", 3, 2), "of analyses"
