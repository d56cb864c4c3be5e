"""The informed strategy: what the optimizer model is told, which failures it sees, what is no proposal."""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from engine_sessions import Runs
from hypothesis import given
from hypothesis import strategies as st
from world import World, make_config, make_task

from metaspo.backends import Message, Request
from metaspo.engine.config.load import load_config
from metaspo.engine.errors import ConfigError
from metaspo.engine.strategies import (
    InnerContext,
    Malformed,
    NoProposal,
    OuterContext,
    OuterStrategy,
    TaskView,
    Tried,
    Unfit,
    UnknownStrategy,
    inner_strategy,
)
from metaspo.engine.strategies.informed import KINDS, InformedInner, InformedOuter, stratified
from metaspo.engine.strategies.metaspo import FailureAnalysisOuter
from metaspo.engine.strategies.texts import TAGS, Texts
from metaspo.engine.tasks import Example, Failure

T = TypeVar("T")
FINDINGS = "<findings>It is pushed to one side.</findings>"


def failure(right: str, read: str | None, number: int) -> Failure:
    return Failure(example=Example(f"question {number}", (right,)), response=f"said {number}", prediction=read)


def view(name: str = "tone", *, failures: Sequence[Failure], right: int = 3) -> TaskView:
    train = (*(one.example for one in failures), *(Example(f"easy {n}", ("formal",)) for n in range(right)))
    return TaskView(
        name=name,
        user_prompt=f"{name}: {{question}}",
        score=0.5,
        train=train,
        failures=tuple(failures),
        answer_rule="RULE",
        reading="READ SO",
        metric="macro-f1",
    )


class Optimizer:
    """Says what it is made to say, and keeps what it was asked; what cannot be read is drawn again once."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.kinds: list[type[Malformed]] = []
        self.again: list[str] = []

    async def __call__(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        self.asked.append(messages[-1].content)
        try:
            return parse(self.answers.pop(0))
        except Malformed as fault:
            self.faults.append(str(fault))
            self.kinds.append(type(fault))
            self.again.append(fault.again)
            return parse(self.answers.pop(0))


def inner(ask: Optimizer, task: TaskView, **known: Any) -> InnerContext:  # noqa: ANN401 - fields of the context
    fields: dict[str, Any] = {"address": "x", "candidate": 1, "show": 4, "rng": Random(1), "system_prompt": "SYSTEM"}
    return InnerContext(**{**fields, "model": "tiny-1b", "max_tokens": 64, **known}, task=task, ask=ask)


BOTH_WAYS = [failure("formal", "casual", n) for n in range(6)] + [
    failure("casual", "formal", 6),
    failure("casual", None, 7),
]


async def test_errors_are_told_in_all_directions_with_counts_and_with_what_must_stay_right() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>Weigh both. {question} RULE</new_prompt>")
    context = inner(ask, view(failures=BOTH_WAYS), tried=(Tried("Push to casual. {question}", at_most=0.57),))
    assert await InformedInner().propose(context) == "Weigh both. {question} RULE"
    for request in ask.asked:
        assert '"formal" read as "casual": 6 of 9' in request
        assert '"casual" read as "formal": 1 of 2' in request
        assert "1 of 11 answers could not be read" in request
        assert "3 of 11 right" in request
        assert "50% (macro-f1)" in request
        assert "RULE READ SO" in request
        assert "tiny-1b" in request
        assert "<kept_case>\n<question>\neasy" in request
        assert "Push to casual. {question}" in request
        assert "at most 57%, not kept" in request
    assert "at most 64 tokens" in ask.asked[0]
    assert "cut off after 64 tokens" in ask.asked[1]
    assert "It is pushed to one side." in ask.asked[1]


async def test_what_a_push_would_cost_is_told_of_every_label_that_errors_name() -> None:
    """The other label shows in no error where all go in one direction: that it is right now is said with its number."""
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    one_way = [failure("casual", "formal", number) for number in range(6)]
    easy = [Example("right", ("casual",)), Example("other", ("vulgar",)), Example("none", ("",))]
    task = view(failures=one_way)
    await InformedInner().propose(inner(ask, replace(task, train=(*task.train, *easy))))
    for request in ask.asked:
        assert '- "casual" read as "formal": 6 of 7\n- "formal" read as that, and right: 3 of 3' in request
        assert '- "casual" read as that, and right: 1 of 7' in request
        assert request.count("and right: ") == 2


async def test_a_system_prompts_writer_sees_every_task_in_both_calls() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>Be exact.</new_prompt>")
    tasks = (view("tone", failures=BOTH_WAYS), view("facts", failures=[failure("true", "false", 9)]))
    context = OuterContext(
        address="x", candidate=1, show=2, rng=Random(1), system_prompt="SYSTEM", tasks=tasks, ask=ask
    )
    assert await InformedOuter().propose(context) == "Be exact."
    for request in ask.asked:
        assert all(mark in request for mark in ("## Task tone", "## Task facts"))
        wrong, right = request.split("# Right answers")
        assert wrong.index("Of task tone:") < wrong.index("Of task facts:") < wrong.index("question 9")
        assert right.index("Of task tone:") < right.index("easy") < right.index("Of task facts:")


async def test_user_prompts_that_the_present_one_has_beaten_are_told_as_tried_and_count_for_no_kind() -> None:
    """Else the optimizer model writes the induced prompt once more, which has lost already."""
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    beaten = (Tried("Induced. {question}", beaten=0.25, answers=8), Tried("Again. {question}", beaten=0.38, answers=8))
    task = replace(view(failures=BOTH_WAYS), beaten=beaten)
    present = Tried(task.user_prompt, score=0.5)
    await InformedInner().propose(inner(ask, task, tried=(Tried("Again. {question}", gate=0.5), present)))
    for request in ask.asked:
        assert '<tried outcome="25%, not kept">\nInduced. {question}\n</tried>' in request
        assert request.count("Again. {question}") == request.count("tone: {question}") == 1
    assert Texts("informed").text("kinds", KINDS[2], {}) in ask.asked[1]


async def test_what_lost_at_a_gate_is_told_beside_its_parent_there_and_with_what_could_not_be_read() -> None:
    """Beside the parent's score on all rows it looks worse or better than it was."""
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    lost = Tried("Lost. {question}", gate=0.25, parent=0.5, unread=3, answers=4)
    await InformedInner().propose(inner(ask, view(failures=BOTH_WAYS), tried=(lost,)))
    told = "25% on a few examples, on which what it came from has 50%; not kept; 3 of 4 answers could not be read"
    assert all(f'<tried outcome="{told}">\nLost. {{question}}\n</tried>' in request for request in ask.asked)


async def test_of_a_user_prompt_it_is_told_that_another_system_prompt_was_there_when_it_was_tried() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    tried = (
        Tried("Then. {question}", gate=0.5, parent=0.5, system="OLD"),
        Tried("Now. {question}", gate=0.5, parent=0.5, system="SYSTEM"),
    )
    await InformedInner().propose(inner(ask, view(failures=BOTH_WAYS), tried=tried))
    for request in ask.asked:
        assert 'not kept (under an earlier system prompt)">\nThen. {question}' in request
        assert 'not kept">\nNow. {question}' in request


@pytest.mark.parametrize("strategy", [InformedOuter(), FailureAnalysisOuter()], ids=["informed", "metaspo"])
async def test_a_system_prompt_may_set_a_form_where_most_errors_are_answers_that_cannot_be_read(
    strategy: OuterStrategy,
) -> None:
    """User prompts that bring no form are not said to bring one."""
    mixed, formless = view(failures=BOTH_WAYS), view("facts", failures=[failure("true", None, n) for n in range(7)])
    for tasks, free in (((mixed,), False), ((formless,), True), ((mixed, formless), True), ((formless, mixed), True)):
        ask = Optimizer(
            "<findings>Of form.</findings><analysis>Of form.</analysis>",
            "<new_prompt>Be exact.</new_prompt><system_prompt>Be exact.</system_prompt>",
        )
        context = OuterContext(
            address="x", candidate=1, show=2, rng=Random(1), system_prompt="SYSTEM", tasks=tasks, ask=ask
        )
        assert await strategy.propose(context) == "Be exact."
        assert ("as silent on form as these" in ask.asked[1]) is free
        assert bool(re.search("so set none|must not fix an answer format", ask.asked[1])) is not free


async def test_how_answers_are_read_is_told_once_of_tasks_that_are_read_alike() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>Be exact.</new_prompt>")
    views = [view(name, failures=BOTH_WAYS) for name in ("tone", "mood", "facts", "plain")]
    tasks = (*views[:2], replace(views[2], reading="OTHERWISE"), replace(views[3], reading=""))
    await InformedOuter().propose(
        OuterContext(address="x", candidate=1, show=1, rng=Random(1), system_prompt="S", tasks=tasks, ask=ask)
    )
    for request in ask.asked:
        assert request.count("RULE READ SO") == request.count("RULE OTHERWISE") == 1
        assert request.count("RULE It is read in the same way as that of task tone.") == 1


async def test_candidates_are_asked_for_different_kinds_of_prompts_within_a_round_and_from_round_to_round() -> None:
    async def kind(*, candidate: int, before: int) -> str:
        ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
        tried = tuple(Tried(f"{number} {{question}}") for number in range(before))
        await InformedInner().propose(inner(ask, view(failures=BOTH_WAYS), candidate=candidate, tried=tried))
        return next(kind for kind in KINDS if Texts("informed").text("kinds", kind, {}) in ask.asked[1])

    assert [await kind(candidate=number, before=0) for number in (1, 2, 3)] == list(KINDS)
    assert [await kind(candidate=1, before=rounds) for rounds in (0, 1, 2)] == list(KINDS)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["a", "b", None])), max_size=20), st.integers(0, 12))
def test_every_kind_of_error_is_shown_before_any_is_shown_twice(kinds: list[tuple[str, str | None]], size: int) -> None:
    failures = [failure(right, read, number) for number, (right, read) in enumerate(kinds)]
    shown = stratified(failures, size, Random(3))
    assert len(shown) == len({one.example for one in shown}) == min(size, len(failures))
    counts = [sum((one.example.answers[0], one.prediction) == kind for one in shown) for kind in set(kinds)]
    if len(shown) >= len(counts):
        assert all(counts)
    else:
        assert max(counts, default=0) <= 1


async def test_a_prompt_with_a_fault_is_drawn_again() -> None:
    ask = Optimizer(
        FINDINGS, f"<new_prompt>{'very ' * 200}{{question}}</new_prompt>", "<new_prompt>Short. {question}</new_prompt>"
    )
    assert await InformedInner().propose(inner(ask, view(failures=BOTH_WAYS))) == "Short. {question}"
    assert "more than 150" in ask.faults[0]


async def test_what_breaks_the_configs_wording_is_counted_as_that() -> None:
    def usable(prompt: str) -> str:
        if "formal" in prompt:
            raise Unfit("it holds the word 'formal'")
        return prompt

    said = ["<new_prompt>Be formal. {question}</new_prompt>", "<new_prompt>Be exact. {question}</new_prompt>"]
    ask = Optimizer(FINDINGS, *said)
    assert await InformedInner().propose(inner(ask, view(failures=BOTH_WAYS), usable=usable)) == "Be exact. {question}"
    assert ask.kinds == [Unfit]
    assert "could not be used: it holds the word 'formal'" in ask.again[0]


async def test_the_next_draw_is_told_what_was_wrong() -> None:
    ask = Optimizer(
        FINDINGS, "<new_prompt>[insert it] {question}</new_prompt>", "<new_prompt>A. {question}</new_prompt>"
    )
    await InformedInner().propose(inner(ask, view(failures=BOTH_WAYS)))
    assert "could not be used" in ask.again[0]
    assert "not filled in: [insert it]" in ask.again[0]


async def test_what_graders_say_stands_with_its_case() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    said = [replace(BOTH_WAYS[0], feedback="the tone is stiff"), BOTH_WAYS[6]]
    await InformedInner().propose(inner(ask, view(failures=said)))
    assert all(request.count("<feedback>") == 1 and "the tone is stiff" in request for request in ask.asked)


async def test_an_answer_that_is_right_and_worth_less_is_no_error_of_reading() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    both = Failure(example=Example("q", ("formal", "stiff")), response="It is stiff.", prediction="stiff")
    await InformedInner().propose(inner(ask, view(failures=[failure("formal", "formal", 1), both, *BOTH_WAYS[:2]])))
    assert '"formal" read as that, but worth less than all: 1 of 7' in ask.asked[0]
    assert '"stiff" read as that, but worth less than all: 1 of 1' in ask.asked[0]
    assert '"formal" read as "casual": 2 of 7' in ask.asked[0]


async def test_where_no_right_answers_are_given_none_is_shown_nor_counted() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    failures = [replace(failure("", "said", number), feedback="too stiff") for number in range(3)]
    task = replace(view(failures=failures), train=tuple(Example(f"q {n}", ("",)) for n in range(4)))
    await InformedInner().propose(inner(ask, task))
    assert "No right answers are given. 3 of 4" in ask.asked[0]
    assert 'read as "' not in ask.asked[0]
    assert ask.asked[0].count("<right_answer>(none is given)</right_answer>") == 3 + 2


async def test_a_domain_may_be_named_where_the_config_says_so() -> None:
    asked = []
    for scope in ("global", "domain"):
        ask = Optimizer(FINDINGS, "<new_prompt>Be exact.</new_prompt>")
        context = OuterContext(
            address="x",
            candidate=1,
            show=2,
            rng=Random(1),
            system_prompt="S",
            tasks=(view(failures=BOTH_WAYS),),
            ask=ask,
        )
        await InformedOuter(scope=scope).propose(context)
        asked.append(ask.asked[1])
    assert "name no subject" in asked[0]
    assert "one domain, which it may name" in asked[1]


async def test_texts_of_ones_own_stand_in_the_place_of_metaspos() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    texts = {"user": {"generate": "MINE: $findings in <new_prompt>"}, "both": {"attempt": "I tried $prompt"}}
    context = inner(ask, view(failures=BOTH_WAYS), tried=(Tried("Push. {question}"),))
    await InformedInner(texts=texts).propose(context)
    assert ask.asked[1] == "MINE: It is pushed to one side. in <new_prompt>"
    assert "I tried Push. {question}" in ask.asked[0]


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"usr": {"role": "x"}}, "no table [usr] (did you mean 'user'?)"),
        ({"user": {"rol": "x"}}, "[user] has no text 'rol'"),
        ({"user": {"role": "for $modell"}}, "nothing fills in $modell"),
        ({"both": {"right": "costs $ 5"}}, "stands for itself as $$"),
        ({"user": {"global": "x"}}, "[user] has no text 'global'"),
        ({"rules": {"role": "x"}}, "[rules] has no text 'role'"),
        ({"system": {"role": " "}}, "[system] role: is empty"),
        ({"both": {"analyze": ""}}, "[both] analyze: is empty"),
        ({"both": {"wrong": "It was wrong."}}, "[both] wrong: nothing is filled in; there is $question, $response"),
        ({"both": {"wrong": "$question, read as {prediction}"}}, "{prediction} is filled in where it is written $pred"),
        ({"both": {"analyze": "What of $facts?"}}, "does not ask for <findings>, from which the answer is read"),
        ({"user": {"generate": "Mend it: $findings"}}, "does not ask for <new_prompt>"),
    ],
)
def test_texts_that_cannot_be_used_are_named(texts: dict[str, dict[str, str]], why: str) -> None:
    with pytest.raises(UnknownStrategy, match=re.escape(why)):
        inner_strategy("informed", {"texts": texts})


def test_a_config_names_the_file_of_its_texts(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        '[base]\nmodel = "m"\nendpoints = ["http://127.0.0.1:1/v1"]\n[outer]\nstrategy = "informed"\n'
        'options = {texts = "mine.toml"}\n[[tasks]]\nname = "a"\ntrain = "a.jsonl"\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"outer.options.texts: .*mine.toml: cannot be read"):
        load_config(path)
    for written, why in [("", "holds no text"), ("[user]\n", "holds no text"), ('role = "x"', "stands in no table")]:
        (tmp_path / "mine.toml").write_text(written, encoding="utf-8")
        with pytest.raises(ConfigError, match=f"outer.options.texts: .*mine.toml: .*{why}"):
            load_config(path)
    (tmp_path / "mine.toml").write_text('[system]\nrole = "You write."\n', encoding="utf-8")
    assert load_config(path).outer.options == {"texts": {"system": {"role": "You write."}}}


async def test_a_role_of_ones_own_for_both_levels_is_no_kind_of_prompt() -> None:
    ask = Optimizer(FINDINGS, "<new_prompt>New. {question}</new_prompt>")
    context = inner(ask, view(failures=BOTH_WAYS), candidate=KINDS.index("role") + 1)
    await InformedInner(texts={"both": {"role": "You are mine."}}).propose(context)
    assert "Let it be a role" in ask.asked[1]
    assert "You are mine." not in ask.asked[1]


async def test_whatever_the_optimizer_is_told_may_be_in_words_of_ones_own() -> None:
    own = tomllib.loads(files("metaspo.engine.strategies").joinpath("informed.toml").read_text(encoding="utf-8"))
    marked = {
        table: {
            name: re.sub(r"(?<![$<{/\w])[A-Za-z]\w*(?![\w>}])", "mot", text) if not TAGS.search(text) else text
            for name, text in texts.items()
        }
        for table, texts in own.items()
    }
    marked["both"]["analyze"] = "$facts $wrong $kept $tried <findings>"
    marked["both"]["generate"] = "$facts $wrong $kept $tried $prompts $kind $rules $findings <new_prompt>"
    tried = (Tried("Mot. {question}", score=0.5), Tried("Mot mot. {question}", gate=0.5), Tried("Mot 2. {question}"))
    for failures in (BOTH_WAYS, [replace(BOTH_WAYS[0], feedback="mot")]):
        ask = Optimizer("?", "<findings>Mot.</findings>", "?", "<new_prompt>Mot. {question}</new_prompt>")
        task = replace(view("mot", failures=failures), answer_rule="mot", reading="mot", metric="mot")
        await InformedInner(texts=marked).propose(inner(ask, task, system_prompt="mot", tried=tried))
        said = set(re.findall(r"(?<![<{/\w])[A-Za-z]+(?![\w>}])", "\n".join(ask.asked)))
        assert said <= {"mot", "Mot", "question", "said", "easy", "formal", "casual", "outcome", "findings"}


async def test_no_failures_are_no_question() -> None:
    ask = Optimizer()
    with pytest.raises(NoProposal, match="no failures"):
        await InformedInner().propose(inner(ask, view(failures=[])))
    assert ask.asked == []


class Informed(World):
    """Also answers in the tags that the informed strategy asks for."""

    def optimizer(self, request: Request) -> str:
        answer, text = super().optimizer(request), request.messages[-1].content
        if "between <findings> and </findings>" in text:
            return answer.replace("system_prompt>", "findings>")
        level = "user" if "Rewrite the user prompt" in text else "system"
        end = " {question}</new_prompt>" if level == "user" else "</new_prompt>"
        return answer.replace("<system_prompt>", "<new_prompt>").replace("</system_prompt>", end)


def test_a_run_with_it_finds_the_same_in_any_timing_and_names_the_base_model() -> None:
    loops = {"inner": {"strategy": "informed", "candidates": 2}, "outer": {"strategy": "informed", "candidates": 3}}
    tasks = (make_task("a", train=9), make_task("b", train=9))
    first, second = (
        Runs(make_config(loops), tasks, Informed(7), timing=timing, width=width) for timing, width in ((1, 1), (9, 8))
    )
    result = first.session()
    assert result is not None
    assert result.system_prompt != result.first_system_prompt
    assert second.session(stop_after=7.0) is None
    assert second.session() == result
    asked = [request.messages[-1].content for request in first.answered if request.model == "writer"]
    assert asked
    assert all('"answerer"' in text for text in asked)
    assert any("%, not kept" in text for text in asked)
    assert any("(under an earlier system prompt)" in text for text in asked)
    assert any("could not be used: expected <" in text for text in asked)


def test_a_run_tells_a_tasks_writer_which_first_or_induced_prompt_has_lost() -> None:
    loop = {"strategy": "informed", "candidates": 1}
    loops = {"iterations": 1, "inner": loop | {"keep": 1}, "outer": loop | {"under": "induced", "induced": 1}}
    runs = Runs(make_config(loops), [make_task(name, train=8) for name in "ab"], Informed(1), timing=1, width=4)
    assert runs.session() is not None
    told = [request.messages[-1].content for request in runs.answered if request.model == "writer"]
    asked = [text for text in told if "Only the user prompt" in text]
    assert asked
    assert all(len(re.findall(r'<tried outcome="\d+%, not kept["; ]', text)) == 1 for text in asked)
