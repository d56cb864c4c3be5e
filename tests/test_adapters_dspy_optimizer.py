"""metaspo as DSPy's optimizer: one system prompt for one program or several. Skipped where DSPy is not installed."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_world import client_of
from chat_server import NO_CREDIT, ChatServer

from metaspo import CallFailed, ConfigError, Request

dspy = pytest.importorskip("dspy")
pytestmark = pytest.mark.filterwarnings("ignore")

from metaspo.adapters.dspy import LM  # noqa: E402 - only where there is DSPy
from metaspo.adapters.dspy_optimizer import MetaSPO  # noqa: E402

SMALL: dict[str, Any] = {"iterations": 1, "outer": {"candidates": 2}}


def answer(request: Request) -> str:
    """Right answers for whoever is told to be careful; prompts for whoever is asked to write one."""
    told = request.messages[0].content
    if "[[ ## answer ## ]]" not in told:
        return "<analysis>Careless.</analysis><system_prompt>Be careful.</system_prompt>"
    said = "yes" if "Be careful." in told else "no"
    return f"[[ ## reasoning ## ]]\nIt is.\n\n[[ ## answer ## ]]\n{said}\n\n[[ ## completed ## ]]"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer) as server:
        yield server


def rows(count: int, *, about: str = "so") -> list[Any]:
    return [dspy.Example(question=f"Is {n} {about}?", answer="yes").with_inputs("question") for n in range(count)]


def metric(row: Any, said: Any, trace: object = None) -> float:  # noqa: ANN401 - DSPy's
    return float(said.answer == row.answer)


def test_before_a_search_there_is_no_result(server: ChatServer, tmp_path: Path) -> None:
    """And it need not be asked whether there is one: the docs' example is right for type checkers."""
    with client_of(server, tmp_path) as client, pytest.raises(RuntimeError, match="call compile or compile_all first"):
        _ = MetaSPO(metric, client=client, writer="m").result


def test_one_system_prompt_is_found_for_several_programs_and_nothing_is_asked_when_run_again(
    server: ChatServer, tmp_path: Path
) -> None:
    calls = []
    for _ in range(2):
        with client_of(server, tmp_path) as client, dspy.context(lm=LM("m", client=client, temperature=0.0)):
            programs = {
                "short": (dspy.Predict("question -> answer"), rows(4)),
                "long": (dspy.ChainOfThought("question -> answer"), rows(4, about="true")),
            }
            optimizer = MetaSPO(metric, client=client, writer="m", **SMALL)
            better = optimizer.compile_all(programs)
        calls.append(server.calls)
        assert optimizer.result.system_prompt == "Be careful."
        assert (optimizer.result.train_before, optimizer.result.train_after) == (0.0, 1.0)
        for name, (first, _) in programs.items():
            (before,), (after,) = first.predictors(), better[name].predictors()
            assert after.signature.instructions == f"Be careful.\n\n{before.signature.instructions}"
    assert calls[0] == calls[1]


def test_compile_is_a_teleprompters(server: ChatServer, tmp_path: Path) -> None:
    with client_of(server, tmp_path) as client, dspy.context(lm=LM("m", client=client, temperature=0.0)):
        program = dspy.Predict("question -> answer")
        better = MetaSPO(metric, client=client, writer="m", **SMALL).compile(program, trainset=rows(4))
        assert program(question="Is it so?").answer == "no"
        assert better(question="Is it so?").answer == "yes"
    better.save(tmp_path / "better.json")
    loaded = dspy.Predict("question -> answer")
    loaded.load(tmp_path / "better.json")
    assert loaded.signature.instructions == better.signature.instructions


def test_what_the_metric_says_is_shown_to_who_writes_prompts(server: ChatServer, tmp_path: Path) -> None:
    def explains(row: Any, said: Any) -> Any:  # noqa: ANN401 - DSPy's
        return dspy.Prediction(score=metric(row, said), feedback="It is so, always.")

    with client_of(server, tmp_path) as client, dspy.context(lm=LM("m", client=client, temperature=0.0)):
        MetaSPO(explains, client=client, writer="m", **SMALL).compile(
            dspy.Predict("question -> answer"), trainset=rows(4)
        )
    assert any("It is so, always." in body for body in server.asked)


def test_a_metric_that_fails_is_no_score(server: ChatServer, tmp_path: Path) -> None:
    with client_of(server, tmp_path) as client, dspy.context(lm=LM("m", client=client, temperature=0.0)):
        for wrong in (lambda _row, _said: 7.0, lambda row, _said: row.nothing):
            with pytest.raises(ValueError, match="metric"):
                MetaSPO(wrong, client=client, writer="m", **SMALL).compile(
                    dspy.Predict("question -> answer"), trainset=rows(2)
                )


def test_what_a_metric_raised_is_the_cause(server: ChatServer, tmp_path: Path) -> None:
    with client_of(server, tmp_path) as client, dspy.context(lm=LM("m", client=client, temperature=0.0)):
        with pytest.raises(ValueError, match="The metric failed: ZeroDivisionError") as failed:
            MetaSPO(lambda _row, _said: 1 / 0, client=client, writer="m", **SMALL).compile(
                dspy.Predict("question -> answer"), trainset=rows(2)
            )
        assert isinstance(failed.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("settings", "number", "says"),
    [({"iteratons": 2}, 2, "iteratons: unknown key .did you mean 'iterations'"), ({}, 0, "program: there are no rows")],
)
def test_a_setting_or_a_trainset_that_is_none_is_told_before_anything_is_asked(
    settings: dict[str, Any], number: int, says: str, server: ChatServer, tmp_path: Path
) -> None:
    with client_of(server, tmp_path) as client, pytest.raises(ConfigError, match=says):
        MetaSPO(metric, client=client, writer="m", **settings).compile(
            dspy.Predict("question -> answer"), trainset=rows(number)
        )
    assert not server.asked


def test_a_program_with_a_model_of_its_own_is_copied_without_a_word(
    server: ChatServer, tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(server, tmp_path) as client:
        program = dspy.Predict("question -> answer")
        program.set_lm(LM("m", client=client, temperature=0.0))
        program.reset_copy()
        for copied in (program.deepcopy(), copy.deepcopy(program)):
            assert copied.lm.engine is program.lm.engine
    assert not caplog.records
    assert not recwarn.list


def test_no_credit_ends_the_search_and_is_no_score(server: ChatServer, tmp_path: Path) -> None:
    server.refuse = lambda _request, _before: NO_CREDIT
    with (
        client_of(server, tmp_path) as client,
        dspy.context(lm=LM("m", client=client, temperature=0.0)),
        pytest.raises(CallFailed) as failed,
    ):
        MetaSPO(metric, client=client, writer="m", **SMALL).compile(
            dspy.Predict("question -> answer"), trainset=rows(2)
        )
    assert failed.value.kind == "credit"


def test_equal_questions_with_different_answers_are_rows_of_their_own(server: ChatServer, tmp_path: Path) -> None:
    twice = [dspy.Example(question="Is it?", answer=said).with_inputs("question") for said in ("yes", "no")]
    with client_of(server, tmp_path) as client, dspy.context(lm=LM("m", client=client, temperature=0.0)):
        optimizer = MetaSPO(metric, client=client, writer="m", **SMALL)
        optimizer.compile(dspy.Predict("question -> answer"), trainset=twice)
    assert optimizer.result.train_before == optimizer.result.train_after == 0.5
