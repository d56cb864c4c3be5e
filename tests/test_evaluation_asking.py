"""One split under a pair, by one call an example or by a program: what is asked, and what is only looked up."""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from world import make_config, make_task

from metaspo import Gateway, Lane, LaneSettings, MemoryStore
from metaspo.backends import Completion, Message, Request, RequestRejected, Sampling, Scripted, Usage
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.engine.config.models import model_of
from metaspo.engine.evaluation.asking import Asking, Base, asking_of
from metaspo.engine.evaluation.call_options import with_options
from metaspo.engine.evaluation.calling import Asked, CodeRun, NotStored, Raised
from metaspo.engine.evaluation.grading import outcomes_of
from metaspo.engine.evaluation.scorecard import Outcome, Status
from metaspo.engine.prompts import PromptPair
from metaspo.engine.strategies.worked_examples import WorkedExample, join_user
from metaspo.engine.tasks import Example, FormatError, Grade, MetricError, Task, UserMetric
from metaspo.engine.tasks.graders import Grader, Ungraded
from metaspo.engine.tasks.programs import Broken, Call, Program, ProgramError
from metaspo.scheduling import Account

T = TypeVar("T")
TASK = make_task("a", train=4)
PAIR = PromptPair("Be brief.", "So: {question}")
MODEL = model_of(make_config().base, lane="base", temperature=0.0)
NOW = (0,)


def echo(request: Request) -> str:
    """The last number asked; a refusal where it is 3."""
    number = re.findall(r"\d+", request.messages[-1].content)[-1]
    if number == "3":
        raise RequestRejected("not that one")
    return str(number)


class Place:
    """A gateway over a model that echoes, and an account."""

    def __init__(self, answer: Callable[[Request], str] = echo) -> None:
        self.backend = Scripted(answer)
        self.store = MemoryStore()
        self.account = Account("own")

    @property
    def calls(self) -> int:
        return len(self.backend.calls)

    def do(self, what: Callable[[Base], Coroutine[Any, Any, T]], **changes: object) -> T:
        """Something with a base of this gateway, on virtual time."""

        async def session() -> T:
            lanes = [Lane("base", [self.backend], LaneSettings(concurrency=4))]
            async with Gateway(lanes, store=self.store) as gateway:
                base = Base(gateway=gateway, model=MODEL, roles="separate", account=self.account)
                return await what(replace(base, **changes))  # type: ignore[arg-type]

        return run_virtual(session())

    def asking(
        self, task: Task, work: Callable[[Asking], Coroutine[Any, Any, T]], pair: PromptPair = PAIR, **changes: object
    ) -> T:
        """Something with a task's train split under a pair."""

        async def of(base: Base) -> T:
            return await work(asking_of(base, pair, task, task.train))

        return self.do(of, **changes)


def program(function: Callable[..., object], *, max_calls: int = 3) -> Task:
    return replace(TASK, program=Program(name="own:function", function=function, max_calls=max_calls))


async def twice(prompts: PromptPair, example: Example, call: Call) -> Completion:
    """Two calls, of which the second one's answer counts."""
    await call(f"first {example.question}")
    return await call(prompts.messages(example.question))


async def told(prompts: PromptPair, example: Example, call: Call) -> str:
    return f"said {(await call(example.question)).text}"


def words(answers: Sequence[object]) -> list[str]:
    return [answer.text if isinstance(answer, Completion) else type(answer).__name__ for answer in answers]


@pytest.mark.parametrize("task", [TASK, program(twice)])
def test_rows_are_answered_in_their_order_and_what_the_cache_has_is_known_by_its_row(task: Task) -> None:
    place = Place()

    async def some(asking: Asking) -> tuple[Sequence[object], dict[int, object]]:
        assert dict(await asking.recall()) == {}
        return await asking.ask([2, 0], NOW), dict(await asking.recall())

    answers, stored = place.asking(task, some)
    assert words(answers) == ["2", "0"]
    assert list(stored) == [0, 2]
    assert words(list(stored.values())) == ["0", "2"]
    calls = place.calls

    async def again(asking: Asking) -> list[list[int]]:
        return [list(await asking.recall(rows)) for rows in ([2, 1], [1, 3], [])]

    assert place.asking(task, again) == [[2], [], []]
    assert place.calls == calls, "looking calls nothing"


@pytest.mark.parametrize("task", [TASK, program(twice)])
def test_what_the_server_refuses_is_a_refusal_of_its_row_alone(task: Task) -> None:
    async def every(asking: Asking) -> Sequence[object]:
        return await asking.ask(range(4), NOW)

    assert words(Place().asking(task, every)) == ["0", "1", "2", "RequestRejected"]


def test_what_only_looks_counts_no_hits_and_what_recalls_for_an_account_counts_each_once() -> None:
    place = Place()

    async def ask(asking: Asking) -> object:
        return await asking.ask([0, 1], NOW)

    async def recall(asking: Asking) -> object:
        return await asking.recall()

    def hits() -> int:
        return place.account.statistics().total.hits

    for task in (TASK, program(twice)):
        place.asking(task, ask)
        before = hits()
        place.asking(task, recall, account=None)
        assert hits() == before
        place.asking(task, recall)
        assert hits() == before + (2 if task is TASK else 4), "each call of a program is one"


def test_a_programs_answer_is_a_completion_of_what_all_its_calls_took() -> None:
    async def first(asking: Asking) -> Sequence[object]:
        return await asking.ask([1], NOW)

    (one,) = Place().asking(TASK, first)
    (two,) = Place().asking(program(twice), first)
    (text,) = Place().asking(program(told), first)
    assert isinstance(one, Completion)
    assert isinstance(two, Completion)
    assert (two.text, two.usage.prompt_tokens > one.usage.prompt_tokens) == ("1", True)
    assert two.usage.completion_tokens == 2
    assert text == Completion(text="said 1", finish_reason="stop", usage=Usage(4, 1), latency=0.0)


def test_a_program_that_raises_breaks_its_own_row_and_one_that_returns_no_text_the_run() -> None:
    async def fails(prompts: PromptPair, example: Example, call: Call) -> str:
        return example.question if example.where.endswith(":1") else str(1 // 0)

    async def every(asking: Asking) -> Sequence[object]:
        return await asking.ask([0, 1], NOW)

    fine, broken = Place().asking(program(fails), every)
    assert fine == Completion(text="a train number 0", finish_reason="stop", usage=Usage(0, 0), latency=0.0)
    assert broken == Broken("the program failed: ZeroDivisionError: integer division or modulo by zero")

    async def number(prompts: PromptPair, example: Example, call: Call) -> int:
        return 3

    with pytest.raises(ProgramError, match=r"'own:function' returned int for a\.train:1: it must return text"):
        Place().asking(program(number), every)


def test_an_example_is_asked_without_what_its_prompts_demonstrate_of_it() -> None:
    async def every(asking: Asking) -> Sequence[object]:
        return await asking.ask([0, 1], NOW)

    shown = join_user([WorkedExample(TASK.train[0].question, "ZERO")], PAIR.user)
    pair = PromptPair("s", shown)
    for task in (TASK, program(twice)):
        place = Place()
        place.asking(task, every, pair)
        last = [request for request in place.backend.calls if request.messages[0].content == "s"]
        last.sort(key=lambda request: request.messages[-1].content.split()[-1])
        assert ["ZERO" in request.messages[-1].content for request in last] == [False, True]


def test_a_look_ends_a_program_at_its_first_call_that_is_not_there_whatever_it_catches() -> None:
    place, reached = Place(), list[str]()

    async def stubborn(prompts: PromptPair, example: Example, call: Call) -> str:
        try:
            return (await call(example.question)).text
        except BaseException as error:  # noqa: BLE001 - what a careless program does
            reached.append(type(error).__name__)
            return (await call("another one")).text

    async def look(base: Base) -> object:
        asked = Asked(model=MODEL, gateway=base.gateway, roles="separate", account=base.account, priority=None)
        code = Program(name="own:stubborn", function=stubborn, max_calls=3)
        return await CodeRun(code, asked).returned(PAIR, TASK.train[0])

    with pytest.raises(NotStored):
        place.do(look)
    assert (reached, place.calls, place.account.statistics().total.hits) == (["NotStored"], 0, 0)


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_program_makes_as_many_calls_as_it_may_and_no_more(calls: int) -> None:
    async def eager(prompts: PromptPair, example: Example, call: Call) -> str:
        return "".join([(await call(f"{n}")).text for n in range(calls)])

    async def one(asking: Asking) -> Sequence[object]:
        return await asking.ask([0], NOW)

    task = program(eager, max_calls=2)
    if calls <= 2:
        assert words(Place().asking(task, one)) == ["01"[:calls]]
    else:
        with pytest.raises(ProgramError, match="makes more than 2 calls for one example: raise the task's max_calls"):
            Place().asking(task, one)


def test_messages_are_asked_as_the_roles_of_the_run_have_them() -> None:
    def sent(messages: object, **changes: object) -> list[tuple[str, str]]:
        async def one(prompts: PromptPair, example: Example, call: Call) -> Completion:
            return await call(messages)  # type: ignore[arg-type]

        async def first(asking: Asking) -> Sequence[object]:
            return await asking.ask([0], NOW)

        place = Place()
        place.asking(program(one), first, PAIR, **changes)
        return [(message.role, message.content) for message in place.backend.calls[0].messages]

    both = [Message("system", "s"), {"role": "user", "content": "u 1"}]
    assert sent("u 1") == [("user", "u 1")]
    assert sent(both) == [("system", "s"), ("user", "u 1")]
    assert sent(both, roles="merged") == [("user", "s\n\nu 1")]


def test_what_code_raised_is_told_by_its_kind_and_its_words() -> None:
    assert str(Raised(ValueError("no such thing"))) == "ValueError: no such thing"
    assert str(Raised(KeyboardInterrupt())) == "KeyboardInterrupt"


def test_code_without_async_is_left_by_who_is_told_to_leave_and_never_works_in_the_loop() -> None:
    where: list[threading.Thread] = []

    def plain(prompts: PromptPair, example: Example, call: Callable[..., Completion]) -> str:
        where.append(threading.current_thread())
        return call(example.question, temperature=0.5).text

    async def session() -> Sequence[object]:
        backend = Scripted(echo)
        async with Gateway([Lane("base", [backend], LaneSettings(concurrency=4))], store=MemoryStore()) as gateway:
            base = Base(gateway=gateway, model=MODEL, roles="separate")
            answers = await asking_of(base, PAIR, program(plain), TASK.train).ask([0, 2], NOW)
            assert {call.sampling.temperature for call in backend.calls} == {0.5}
            return answers

    assert words(asyncio.run(session())) == ["0", "2"]
    assert threading.main_thread() not in where


REQUEST = Request(
    model="m",
    messages=(Message("user", "q"),),
    sampling=Sampling(max_tokens=9, temperature=0.0, top_p=0.5, stop=("x",), extra='{"a":1,"b":2}'),
    response_format="{}",
)
NOTHING: dict[str, Any] = dict.fromkeys(
    ("max_tokens", "temperature", "top_p", "stop", "response_format", "tools", "extra")
)


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ({}, {}),
        ({"max_tokens": 1}, {"max_tokens": 1}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 2.0}, {"temperature": 2.0}),
        ({"top_p": 1}, {"top_p": 1}),
        ({"stop": "ab"}, {"stop": ("ab",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"stop": []}, {"stop": ()}),
        ({"extra": {}}, {}),
        ({"extra": {"b": 3, "c": 4}}, {"extra": '{"a":1,"b":3,"c":4}'}),
        ({"tools": []}, {"extra": '{"a":1,"b":2,"tools":[]}'}),
        ({"tools": [{"t": 1}], "extra": {"c": 4}}, {"extra": '{"a":1,"b":2,"c":4,"tools":[{"t":1}]}'}),
    ],
)
def test_what_a_call_names_is_all_that_changes(options: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert with_options(REQUEST, **{**NOTHING, **options}) == replace(
        REQUEST, sampling=replace(REQUEST.sampling, **sampling)
    )
    formatted = with_options(REQUEST, **{**NOTHING, **options, "response_format": {"type": "x"}})
    assert (formatted.response_format, formatted.sampling) == (
        '{"type":"x"}',
        replace(REQUEST.sampling, **sampling),
    )
    bare = replace(REQUEST, sampling=Sampling())
    assert with_options(bare, **{**NOTHING, "extra": {"c": 4}}).sampling.extra == '{"c":4}'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *(({"max_tokens": value}, "give a whole number from 1 on") for value in (0, -1, True, 1.0, "7")),
        *(({"temperature": value}, "give a number from 0 to 2") for value in (-0.1, 2.1, float("inf"), False, "hot")),
        *(({"top_p": value}, "give a number from 0 to 1") for value in (-0.1, 1.1, float("nan"), True, "all")),
        *(({"stop": value}, "give texts") for value in ([3], ["a", 3], 3, {"a"})),
        *(({"response_format": value}, "give the object that it is") for value in ("json", ["json"])),
        *(({"tools": value}, "give a list of objects") for value in ("look", {"t": 1}, ["look"], [{"t": 1}, "look"])),
        *(({"extra": {name: 1}}, f"extra must not hold '{name}'") for name in ("model", "messages", "stream")),
    ],
)
def test_what_no_server_can_be_asked_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_options(REQUEST, **{**NOTHING, **options})


def completion(text: str) -> Completion:
    return Completion(text=text, finish_reason="stop", usage=Usage(1, 1), latency=0.0)


def graded_by(function: Callable[..., object], *answers: object, first: bool = False, look: bool = False) -> list[Any]:
    """The outcomes of answers to the first rows, by a grader; None where there is none yet."""
    grader = Grader(name="own:grade", function=function, max_calls=1, against_first=first)
    task = replace(TASK, metric=grader)

    async def grade(base: Base) -> list[Outcome | None]:
        rows: Any = dict(enumerate(answers))
        outcomes = await outcomes_of(base, task, task.train, rows, priority=None if look else NOW)
        return [outcomes.get(row) for row in rows]

    return Place().do(grade)


async def asks(prediction: str | None, example: Example, call: Call) -> Grade:
    said = await call(f"of {prediction} {example.answers[0] if example.answers else 'nothing'} 1")
    return Grade(float(said.text) / 2, f"{prediction} for {example.answers}")


def test_a_graders_outcome_is_the_answer_as_it_was_read_with_its_grade() -> None:
    right, unread, refused = graded_by(asks, completion("yes"), completion("well"), RequestRejected("too long"))
    assert (right.status, right.prediction, right.grade, right.feedback) == (
        Status.SCORED,
        "yes",
        0.5,
        "yes for ('yes',)",
    )
    assert (unread.status, unread.prediction, unread.grade) == (Status.MALFORMED, None, 0.5)
    assert (refused.status, refused.grade, refused.reason) == (Status.FAILED, None, "too long")


def test_an_answer_that_nobody_can_grade_is_no_wrong_one() -> None:
    async def unsure(prediction: str | None, example: Example, call: Call) -> Grade:
        raise Ungraded("nobody knows")

    async def refused(prediction: str | None, example: Example, call: Call) -> Grade:
        return Grade(float((await call("3")).text))

    for function, why in ((unsure, "nobody knows"), (refused, "not that one")):
        (outcome,) = graded_by(function, completion("yes"))
        assert (outcome.status, outcome.grade, outcome.prediction) == (Status.FAILED, None, None)
        assert (outcome.text, outcome.reason) == ("yes", f"no grade: {why}")

    async def fails(prediction: str | None, example: Example, call: Call) -> Grade:
        raise KeyError("oh")

    with pytest.raises(MetricError, match=r"^task 'a': a\.train:1: metric .*: KeyError: 'oh'") as raised:
        graded_by(fails, completion("yes"))
    assert isinstance(raised.value.__cause__, KeyError)


class OddFormat:
    closing, wanted = "", "a word"

    def parse(self, text: str, /) -> str | None:
        raise FormatError("it failed") from KeyError("oh")

    def canonical(self, answer: str, /) -> str | None:
        return answer

    def describe(self) -> str:
        return "a word"


def fails_alone(prediction: str | None, answers: tuple[str, ...]) -> float:
    raise KeyError("oh")


async def is_no_grade(prediction: str | None, example: Example, call: Call) -> int:
    return 9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"metric": UserMetric("own:fn", fails_alone)},
            "metric 'own:fn' failed on the prediction 'yes': KeyError: 'oh'",
        ),
        ({"metric": UserMetric("own:fn", lambda _prediction, _answers: 9)}, "metric 'own:fn' returned 9 "),
        ({"metric": Grader(name="own:fn", function=is_no_grade, max_calls=1)}, "metric 'own:fn' returned 9 "),
        ({"answer_format": OddFormat()}, "it failed"),
    ],
)
def test_where_a_metric_or_a_format_fails_the_task_and_the_row_are_named(change: dict[str, Any], says: str) -> None:
    task = replace(TASK, **change)

    async def grade(base: Base) -> object:
        return await outcomes_of(base, task, task.train, {1: completion("yes")}, priority=NOW)

    with pytest.raises(MetricError, match=f"^task 'a': a.train:2: {says}") as raised:
        Place().do(grade)
    assert "9" in says or isinstance(raised.value.__cause__, KeyError)


def test_an_error_of_a_programs_own_kind_comes_through_as_it_is() -> None:
    class Own(FormatError):
        def __init__(self, row: int, why: str) -> None:
            super().__init__(f"{why} in {row}")

    raised = Own(3, "odd")

    class Fails(OddFormat):
        def parse(self, text: str, /) -> str | None:
            raise raised

    task = replace(TASK, answer_format=Fails())

    async def grade(base: Base) -> object:
        return await outcomes_of(base, task, task.train, {1: completion("yes")}, priority=NOW)

    with pytest.raises(Own, match="odd in 3") as caught:
        Place().do(grade)
    assert caught.value is raised


def test_who_only_looks_gets_the_grades_that_take_no_call() -> None:
    (outcome, refused) = graded_by(asks, completion("yes"), RequestRejected("too long"), look=True)
    assert outcome is None
    assert refused.status is Status.FAILED

    async def free(prediction: str | None, example: Example, call: Call) -> float:
        return 0.25

    (outcome,) = graded_by(free, completion("yes"), look=True)
    assert outcome.grade == 0.25


def test_an_answer_is_graded_beside_the_one_under_the_first_prompts() -> None:
    """The echo's numbers are in no form asked for, so that there is none to compare with; the last one is refused."""
    first = graded_by(asks, *[completion("yes")] * 4, first=True)
    assert [outcome.feedback for outcome in first[:3]] == ["yes for ()"] * 3
    assert (first[3].status, first[3].grade) == (Status.FAILED, None)
    assert first[3].reason == "no grade: there is no answer under the first prompts to compare with: not that one"
    assert graded_by(asks, completion("yes"), first=True, look=True) == [None]
